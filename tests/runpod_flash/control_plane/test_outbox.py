"""What a client was not told yet: together in few frames, in its order, and bounded."""

import json
from collections.abc import Sequence
from typing import Any

from runpod_flash.control_plane.events import final_event
from runpod_flash.control_plane.outbox import Frames, Lines, Outbox
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.views import job_object
from worker_runtime.wire import frames
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus, Payload, error_output


def ended(name: str, value: bytes | None = b"v", key: str | None = None, **changes: Any) -> JobRecord:
    output = Payload.inlined(value) if value is not None else error_output(ErrorInfo(ErrorKind.USER, "E", "no"))
    status = JobStatus.COMPLETED if value is not None else JobStatus.FAILED
    times = {"started_at": 2.0, "finished_at": 2.5}
    return JobRecord(name, "e", {}, 1.0, status, output=output, idempotency_key=key, **{**times, **changes})


def tell(box: Frames | Outbox, record: JobRecord) -> None:
    box.ended(record, lambda: final_event(record, job_object))


def taken(box: Frames | Outbox) -> list[tuple[dict[str, Any], bytes]]:
    return [(header, bytes(body)) for header, body in frames.Splitter().feed(b"".join(box.take()))]


def kinds(found: Sequence[tuple[dict[str, Any], bytes]]) -> list[str]:
    return [header["type"] for header, _ in found]


def test_what_follows_each_other_goes_in_one_frame_and_the_order_stays() -> None:
    box = Frames()
    box.event(b'{"event":"stage"}')
    box.event(b'{"event":"log"}')
    tell(box, ended("a", b"one", "ka", worker="w", retries=1))
    tell(box, ended("b", b"", "kb"))
    box.event(b'{"event":"log"}')
    tell(box, ended("c", None, "kc"))
    found = taken(box)
    assert kinds(found) == ["events", "ended", "events"]
    assert [event["event"] for event in found[0][0]["events"]] == ["stage", "log"]
    assert found[1] == (
        {"type": "ended", "jobs": [["ka", "a", 3, "w", 1, 1000, 500], ["kb", "b", 0, None, 0, 1000, 500]]},
        b"one",
    )
    log, failed = found[2][0]["events"]
    assert (log, failed["job"]["status"], failed["key"]) == ({"event": "log"}, "FAILED", "kc")
    assert box.take() == []


def test_large_values_are_told_as_where_they_are() -> None:
    box = Frames()
    tell(box, ended("a", b"one", "ka"))
    for where in (Payload(sha256="a" * 64, size=10**6), Payload(range="b" * 64, size=10**6, until=4.5)):
        tell(box, JobRecord("b", "e", {}, 1.0, JobStatus.COMPLETED, output=where))
    tell(box, ended("c", b"two", "kc"))
    ((header, body),) = taken(box)
    assert [job[1:3] for job in header["jobs"]] == [
        ["a", 3],
        ["b", {"value": "a" * 64, "size": 10**6}],
        ["b", {"range": "b" * 64, "size": 10**6, "until": 4.5}],
        ["c", 3],
    ]
    assert body == b"onetwo"


def test_acceptance_is_told_with_the_end_or_by_itself() -> None:
    box = Frames()
    box.accepted([("k1", "a"), ("k2", "b")], later=True)
    assert box.holds_back
    assert box.take() == []
    tell(box, ended("a", key="k1"))
    assert kinds(taken(box)) == ["ended"]
    assert box.release()
    assert taken(box) == [({"type": "accepted", "jobs": [["k2", "b"]]}, b"")]
    assert not box.release()
    box.accepted([("k3", "c")])
    assert kinds(taken(box)) == ["accepted"]


def test_refusals_and_unknown_jobs() -> None:
    box = Frames()
    box.refused(["k"], b'{"status":404}')
    box.unknown(["x"])
    box.unknown([])
    assert taken(box) == [
        ({"type": "refused", "keys": ["k"], "problem": {"status": 404}, "after": None}, b""),
        ({"type": "unknown", "jobs": ["x"]}, b""),
    ]


def test_a_frame_has_a_thousand_ends_at_most() -> None:
    box = Frames()
    for number in range(2500):
        tell(box, ended(f"j{number}"))
    assert [len(header["jobs"]) for header, _ in taken(box)] == [1000, 1000, 500]


def test_lines_say_the_same() -> None:
    lines = Lines()
    box = Outbox(lines, lambda: None, 10**6, 10**6)
    box.losable({"event": "stage"})
    tell(box, ended("a", b"v", "k"))
    first, second = (json.loads(line) for line in b"".join(box.take()).splitlines())
    assert first == {"event": "stage"}
    assert (second["job"]["id"], second["key"]) == ("a", "k")
    assert second["job"]["output"]["flash"]["value"]["inline"] == "dg=="


def test_who_does_not_read_loses_output_and_then_the_stream_but_no_end_in_between() -> None:
    woken = []
    box = Outbox(Frames(), lambda: woken.append(1), losable_limit=200, jobs_limit=10_000)
    for number in range(50):
        box.losable({"event": "log", "lines": ["x" * 40]})
        tell(box, ended(f"j{number}"))
    found = taken(box)
    told = [entry[1] for header, _ in found if header["type"] == "ended" for entry in header["jobs"]]
    assert told == [f"j{number}" for number in range(50)]
    said = [event for header, _ in found if header["type"] == "events" for event in header["events"]]
    assert "log messages were left out" in said[-1]["message"]
    assert len(woken) == 50 + len(said) - 1
    for number in range(500):
        tell(box, ended(f"j{number}", bytes(100)))
    assert box.has_ended
    assert box.take() == []
