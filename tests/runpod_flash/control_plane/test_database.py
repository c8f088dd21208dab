"""A database of an earlier release, as that left it: every job is there, and unfinished ones go on."""

import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane import database
from runpod_flash.control_plane.job_rows import FIXED, STATE, fixed_row, state_row
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.store import Store
from tests.runpod_flash.control_plane.test_platform_core import played
from tests.support.small_plane import BODY, SmallPlane
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind, Instance, JobStatus, Payload, error_output, read_output

LARGE = b"large" * 100_000
STORED = Payload(sha256=hashlib.sha256(LARGE).hexdigest(), size=len(LARGE))
ARTIFACT = "94dfcae95c8da4db4946b7f381dae150b13ae82615c43d2feb0d7fe49947aa32"  # that of `small_plane`
NOW = time.time()


def call(more: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a job as version 5 has it."""
    return {"flash": {"protocol": 1, "artifact": ARTIFACT, **more, "arguments": arguments}}


def row(seq: int, status: str, job_input: dict[str, Any], **changes: Any) -> tuple[list[Any], list[str]]:
    """A job as version 5 has it: of the tables `jobs` and `job_inputs`."""
    facts = {
        "created_at": NOW + seq, "attempts": 0, "started_at": None, "error": None, "worker": None, "client": "c",
        "timeout_ms": 0, "queue_timeout_ms": 86400000, "ttl_ms": 0, "low_priority": False, "webhook": None,
        "sealed": None, "retry_at": None, "keep_s": 86400.0, "read": False,
    }  # fmt: skip
    columns = {"retries": 0, "finished_at": None, "idempotency_key": None, "output": None, "expires_at": None}
    columns |= {name: value for name, value in changes.items() if name in columns}
    facts |= {name: value for name, value in changes.items() if name not in columns}
    if columns["output"] is not None:
        columns |= {"output": json.dumps(columns["output"]), "expires_at": columns["finished_at"] + facts["keep_s"]}
    retries, finished, key, output, expires = columns.values()
    job = [
        seq,
        f"j{seq}",
        "e1" if "flash" in job_input else "e2",
        status,
        retries,
        finished,
        key,
        json.dumps(facts),
        output,
        expires,
    ]
    return job, [f"j{seq}", json.dumps(job_input)]


SMALL = {"inline": "YQ=="}
RAISED = ErrorInfo(ErrorKind.USER, "ValueError", "no", "tb")
ROWS = [
    row(1, "COMPLETED", call({}, SMALL), attempts=1, started_at=NOW, worker="w-1", idempotency_key="k-done",
        webhook="http://127.0.0.1:1/told", finished_at=NOW + 1, output={"flash": {"value": {"inline": "dmFsdWU="}}}),
    row(2, "FAILED", call({"retries": 0}, SMALL), attempts=1, started_at=NOW, worker="w-1", error="ValueError: no",
        finished_at=NOW + 2, output=error_output(RAISED)),
    row(3, "COMPLETED", call({}, SMALL), attempts=1, started_at=NOW, worker="w-1", finished_at=NOW + 3,
        output={"flash": {"value": {"value": STORED.sha256, "size": STORED.size}}}),
    row(4, "IN_PROGRESS", call({"retries": 3}, {"value": STORED.sha256, "size": STORED.size}), attempts=2, retries=1,
        started_at=NOW, worker="w-2", idempotency_key="k-lost"),
    row(5, "IN_QUEUE", call({"method": "m", "instance": {"id": "o1", "constructor": {"inline": "Yw=="}}}, SMALL),
        client=None, queue_timeout_ms=0, ttl_ms=86400000, keep_s=1800.0),
    row(6, "IN_QUEUE", call({"stream": True}, SMALL), low_priority=True, timeout_ms=5000, ttl_ms=10**12),
    row(7, "IN_QUEUE", {"plain": ["for a command", None]}),
]  # fmt: skip


@pytest.fixture
def version_5(tmp_path: Path) -> Path:
    """The file of a control plane of that version which was killed, with a worker in the midst of a call."""
    path = tmp_path / "flash.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    steps = database._schema()
    for step in range(1, 6):
        connection.executescript(steps[step])
    for name, more in (("e1", {}), ("e2", {"command": "python serve.py"})):
        body = json.dumps({**BODY, **more, "name": name})
        connection.execute("INSERT INTO endpoints VALUES (?, '/p', ?, ?, 'hash', 1, ?, '')", (name, name, body, NOW))
    for job, job_input in ROWS:
        connection.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * 5)}, ?, ?, ?, ?, ?)", job)
        connection.execute("INSERT INTO job_inputs VALUES (?, ?)", job_input)
    connection.execute("INSERT INTO job_logs VALUES ('j4', ?)", [json.dumps([{"attempt": 1, "line": "hello"}])])
    connection.execute("INSERT INTO webhooks VALUES ('j1', 0, ?)", [NOW])
    connection.execute("PRAGMA user_version = 5")
    connection.close()
    return path


def given(number: int, job_input: Call | Mapping[str, Any], **changes: Any) -> JobRecord:
    """A job as this release has it."""
    usual = {"client": "c", "queue_timeout_ms": 86400000}
    return JobRecord(
        f"j{number}", **{"endpoint": "e1", "input": job_input, "created_at": NOW + number, **usual, **changes}
    )


RUNS = given(4, Call(ARTIFACT, STORED, retries=3), status=JobStatus.IN_PROGRESS, attempts=2, retries=1, started_at=NOW,
             worker="w-2", idempotency_key="k-lost")  # fmt: skip
OBJECTS = given(5, Call(ARTIFACT, Payload.inlined(b"a"), "m", Instance("o1", Payload.inlined(b"c"))), client=None,
                queue_timeout_ms=0, ttl_ms=86400000, keep_s=1800.0)  # fmt: skip
STREAMS = given(
    6, Call(ARTIFACT, Payload.inlined(b"a"), stream=True), low_priority=True, timeout_ms=5000, ttl_ms=10**12
)
PLAIN = given(7, {"plain": ["for a command", None]}, endpoint="e2")


def as_calls(job: JobRecord) -> JobRecord:
    """The job, its input read where it is a call, and its output too."""
    read = job.input if isinstance(job.input, Call) or "flash" not in job.input else Call.from_input(job.input)
    return job.changed(input=read)


def test_the_jobs_of_version_5_are_as_they_were(version_5: Path) -> None:
    for _ in range(2):  # brought up to date, then read again
        store = Store.open(version_5)
        assert [as_calls(job) for job in store.unfinished_jobs()] == [RUNS, OBJECTS, STREAMS, PLAIN]
        done, failed, large = (store.job(f"j{number}") for number in (1, 2, 3))
        assert done is not None
        assert failed is not None
        assert large is not None
        assert (done.finished_at, done.webhook, done.attempts) == (NOW + 1, "http://127.0.0.1:1/told", 1)
        assert (read_output(done.output_json), read_output(large.output_json)) == (Payload.inlined(b"value"), STORED)
        assert (failed.status, failed.error, read_output(failed.output_json)) == (
            JobStatus.FAILED,
            "ValueError: no",
            RAISED,
        )
        assert [store.job_by_key("e1", key) for key in ("k-done", "k-lost", "k")] == ["j1", "j4", None]
        assert store.counts("e1") == {"completed": 2, "failed": 1, "retried": 1}
        assert store.logs("j4") == [{"attempt": 1, "line": "hello"}]
        assert store.read("SELECT job FROM webhooks WHERE due_at IS NOT NULL") == [("j1",)]
        assert [number for number, _ in store.brief_jobs([], None, 9)] == [7, 6, 5, 4, 3, 2, 1]
        store.close()


def test_unfinished_jobs_of_version_5_go_on(version_5: Path) -> None:
    async def go_on(plane: SmallPlane) -> None:
        assert plane.artifact == ARTIFACT
        plane.values.held[STORED.sha256 or ""] = LARGE
        assert await plane.platform.intake.replay() == 4
        ran: dict[str, int] = {}

        def all_ran() -> bool:
            plane.connect()
            for process in plane.launcher.processes:
                ran.update(process.calls)
            plane.finish(b"now")
            return all(plane.platform.job("e1", f"j{number}").status.final for number in (4, 5, 6))

        await plane.until(all_ran)
        assert ran == {
            "j4": 3,
            "j5": 1,
            "j6": 1,
        }  # the attempt that was cut off counts, its end is no failure of its own
        for number, retries in ((4, 1), (5, 0), (6, 0)):
            ended = plane.platform.job("e1", f"j{number}")
            assert (ended.status, ended.retries) == (JobStatus.COMPLETED, retries), ended
        assert plane.platform.job("e1", "j1").status is JobStatus.COMPLETED
        waits = plane.dispatcher.unfinished("j7")
        assert waits is not None
        assert waits.record.input == PLAIN.input
        assert plane.store.counts("e1") == {"completed": 5, "failed": 1, "retried": 1}

    async def is_kept(plane: SmallPlane) -> None:
        assert [job.id for job in plane.store.unfinished_jobs()] == ["j7"]
        large = plane.store.job("j4")
        assert large is not None
        assert read_output(large.output_json) == Payload.inlined(b"now")
        assert plane.store.counts("e1") == {"completed": 5, "failed": 1, "retried": 1}

    played(go_on, is_kept)(version_5.parent)


def test_the_journal_of_version_6_is_brought_to_the_table(tmp_path: Path) -> None:
    path = tmp_path / "flash.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    steps = database._schema()
    for step in range(1, 7):
        connection.executescript(steps[step])
    connection.execute("INSERT INTO endpoints VALUES ('e1', '/p', 'e1', ?, 'hash', 1, ?, '')", (json.dumps(BODY), NOW))
    first = given(1, Call(ARTIFACT, Payload.inlined(b"a")), idempotency_key="k")
    others = [given(number, Call(ARTIFACT, Payload.inlined(b"b"))) for number in (2, 3)]
    runs = {"status": JobStatus.IN_PROGRESS, "attempts": 1, "started_at": NOW, "worker": "w"}
    ended = first.changed(**{**runs, "status": JobStatus.COMPLETED}, finished_at=NOW + 9, output=Payload.inlined(b"r"))
    marks = ", ".join("?" * (2 + len(STATE) + len(FIXED)))
    said = [(1, first, True), (2, others[0], True), (1, first.changed(**runs), False), (3, others[1], True),
            (1, ended, False), (2, others[0].changed(**runs), False)]  # fmt: skip
    for row, (number, record, is_new) in enumerate(said, 1):
        fixed = fixed_row(record) if is_new else [None] * len(FIXED)
        connection.execute(f"INSERT INTO journal VALUES ({marks})", [row, number, *state_row(record, "c"), *fixed])
    connection.execute("PRAGMA user_version = 6")
    connection.close()
    for _ in range(2):  # brought up to date, then read again
        store = Store.open(path)
        assert store.unfinished_jobs() == [others[0].changed(**runs), others[1]]
        assert (store.job("j1"), store.job_by_key("e1", "k")) == (ended, "j1")
        assert store.counts("e1") == {"completed": 1, "failed": 0, "retried": 0}
        assert store.read("SELECT (SELECT count(*) FROM old_journal), count(*) FROM journal") == [(0, 0)]
        store.close()
    store = Store.open(path)
    asyncio.run(_saved(store, given(4, {"plain": 1})))
    assert [job.id for job in store.unfinished_jobs()] == ["j2", "j3", "j4"]
    store.close()


async def _saved(store: Store, record: JobRecord) -> None:
    await store.save_job(record)
