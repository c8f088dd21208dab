"""Endpoints with code of their own: plain JSON in and out, from any client."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.own_code import CHECK, Batch, Deployed, code, deployed, parameter
from tests.support.place import Place
from tests.support.plane_api import control_plane
from tests.support.processes import lives
from tests.support.waiting import wait_until
from worker_runtime.wire import neutral, payload
from worker_runtime.wire.class_names import ClassNames
from worker_runtime.wire.jobs import Call, Payload, read_output

FUNCTION = """
import dataclasses, datetime
@dataclasses.dataclass
class Cat:
    name: str
    born: datetime.date
def adopt(name, /, *, year=2020, friend: Cat | None = None, **more):
    if year < 0: raise ValueError(f"nobody is born in {year}")
    return Cat(name, friend.born if friend else datetime.date(year, 1, 2)), sorted(more)
"""
ADOPT = (
    parameter("name", "string", place="positional"),
    parameter("year", "integer", required=False, place="named"),
    parameter("friend", required=False, place="named"),
    parameter("more", required=False, place="rest"),
)


def test_a_function_takes_plain_json_and_gives_some(shared_place: Place) -> None:
    with deployed(shared_place) as here:
        endpoint = here.endpoint("own-adopt", code("adopt", FUNCTION, ADOPT))
        done = here.runsync(endpoint, {"name": "Minka", "year": 2021, "a": 1, "b": None})
        assert (done["status"], done["output"]) == ("COMPLETED", [{"name": "Minka", "born": "2021-01-02"}, ["a", "b"]])
        friendly = here.runsync(endpoint, {"name": "Mo", "friend": done["output"][0]})
        assert friendly["output"] == [{"name": "Mo", "born": "2021-01-02"}, []]
        failed = here.runsync(endpoint, {"name": "Minka", "year": -1})
        assert failed["status"] == "FAILED"
        assert "output" not in failed
        told = json.loads(failed["error"])
        assert (told["error_type"], told["error_message"]) == ("<class 'ValueError'>", "nobody is born in -1")
        assert "in adopt" in told["error_traceback"]
        assert "worker_runtime" not in told["error_traceback"]
        assert told["worker_id"] == failed["workerId"]
        assert here.refused(endpoint, {"nam": "x", "year": "soon"}) == (
            422,
            "field 'input.name' is missing; it must be a text; field 'input.year' is \"soon\"; it must be an integer",
        )
        assert here.runsync(endpoint, CHECK)["output"] == {"flash": {"checked": True}}


CLASS = """
import itertools, os
class Model:
    def __init__(self): self.made, self.calls = os.urandom(4).hex(), itertools.count()
    def count(self): return [self.made, next(self.calls)]
    async def letters(self, text, method=None):
        for letter in text: yield letter
    def both(self, a, b=2): return {a: b}
"""
METHODS = {
    "count": (),
    "letters": (parameter("text", "string"), parameter("method", required=False)),
    "both": (parameter("a"), parameter("b", required=False)),
}


def test_a_class_has_one_object_for_each_worker_and_the_method_is_named(shared_place: Place) -> None:
    with deployed(shared_place) as here:
        endpoint = here.endpoint("own-model", code("Model", CLASS, METHODS, kind="class"))
        assert here.runsync(endpoint, CHECK)["output"] == {"flash": {"checked": True}}
        first, second = (here.runsync(endpoint, {"method": "count"})["output"] for _ in range(2))
        assert (first[0], first[1], second[1]) == (second[0], 0, 1)
        assert here.runsync(endpoint, {"method": "both", "a": "x"})["output"] == {"x": 2}
        job = here.run(endpoint, {"method": "letters", "text": "abc"})
        assert here.ended(endpoint, job)["output"] == ["a", "b", "c"]
        streamed = here.client.get(f"/v2/{endpoint}/stream/{job}").json()
        assert streamed == {"status": "COMPLETED", "stream": [{"output": each} for each in "abc"]}
        assert here.refused(endpoint, {"method": "cuont"})[1].endswith("did you mean 'count'?")
        assert "'both', 'count' or 'letters'" in here.refused(endpoint, {})[1]


BATCHED = """
def double(numbers, texts): return [f"{text}{2 * number} of {len(numbers)}" for number, text in zip(numbers, texts)]
"""


def test_calls_of_a_batched_function_are_put_together(shared_place: Place) -> None:
    shipped = code("double", BATCHED, (parameter("numbers"), parameter("texts")), concurrency=2, batch=Batch(2, 60_000))
    with deployed(shared_place) as here:
        endpoint = here.endpoint("own-double", shipped)
        assert here.runsync(endpoint, CHECK)["output"] == {"flash": {"checked": True}}
        jobs = [here.run(endpoint, {"texts": "n", "numbers": number}) for number in (1, 2)]
        assert [here.ended(endpoint, job)["output"] for job in jobs] == ["n2 of 2", "n4 of 2"]


WORK = """
import os, pathlib, threading, time
MARK = pathlib.Path({mark!r})
gate = threading.Barrier(2, timeout=20)
class Work:
    def items(self, count, size=1):
        for number in range(count): yield "x" * size
    def echo(self, value): return value
    def meet(self): return gate.wait() >= 0
    def once(self, how):
        if MARK.exists(): return "again"
        MARK.touch()
        if how == "lost": os._exit(3)
        raise RuntimeError("the first time")
    def sleep(self): time.sleep(100)
    def image(self): return {{"pixels": [b"x"]}}
"""
WORKS = {
    "items": (parameter("count", "integer"), parameter("size", "integer", required=False)),
    "echo": (parameter("value"),),
    "meet": (),
    "once": (parameter("how", "string"),),
    "sleep": (),
    "image": (),
}


def test_what_is_large_or_many_or_goes_wrong(shared_place: Place, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    work = code("Work", WORK.format(mark=str(mark)), WORKS, kind="class", concurrency=2)
    with deployed(shared_place) as here:
        endpoint = here.endpoint("own-work", work)
        meeting = [here.run(endpoint, {"method": "meet"}) for _ in range(2)]
        assert [here.ended(endpoint, job)["output"] for job in meeting] == [True, True]
        large = ["ä" * 100_000, 1.5, None] * 5
        assert here.runsync(endpoint, {"method": "echo", "value": large})["output"] == large
        assert here.runsync(endpoint, {"method": "echo", "value": None})["status"] == "COMPLETED"
        many = here.runsync(endpoint, {"method": "items", "count": 3000})
        assert (many["status"], len(many["output"])) == ("COMPLETED", 3000)
        much = here.runsync(endpoint, {"method": "items", "count": 25, "size": 1024**2})
        assert (much["status"], "output" in much) == ("FAILED", False)
        assert "25 items with more than 20971520 bytes" in much["error"]
        unfit = here.runsync(endpoint, {"method": "image"})
        assert "['pixels'][0] in the result of 'Work.image' is bytes" in json.loads(unfit["error"])["error_message"]

        late = here.runsync(endpoint, {"method": "sleep"}, policy={"executionTimeout": 300})
        assert (late["status"], late["error"]) == ("TIMED_OUT", "it ran longer than 0.3 s and was killed")
        job = here.run(endpoint, {"method": "sleep"})
        assert here.client.post(f"/v2/{endpoint}/cancel/{job}").json()["status"] == "CANCELLED"

        failed = here.runsync(endpoint, {"method": "once", "how": "raise"})
        assert json.loads(failed["error"])["error_message"] == "the first time"
        here.client.post(f"/v2/{endpoint}/retry/{failed['id']}").raise_for_status()
        assert here.ended(endpoint, failed["id"])["output"] == "again"
        mark.unlink()
        lost = here.runsync(endpoint, {"method": "once", "how": "lost"})
        assert (lost["output"], lost["retries"]) == ("again", 1)


class Hostile:
    """Touches a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_that_a_caller_sends_is_run(shared_place: Place, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pickle = payload.encode(((Hostile(mark),), {}))
    rich = Payload.inlined(neutral.encode(((1 + 2j,), {}), ClassNames()).data)
    echo = code("echo", "def echo(value): return value", (parameter("value"),))
    foreign = code("echo", f"open({str(mark)!r}, 'w')\ndef echo(value): return value", (parameter("value"),))
    with deployed(shared_place) as here:
        endpoint = here.endpoint("own-echo", echo)
        here.upload(foreign)
        answered = here.runsync(endpoint, Call("", rich).to_input())
        value = read_output(answered["output"])
        assert isinstance(value, Payload)
        assert neutral.decode(value.inline or b"", ClassNames()) == 1 + 2j
        for call, words in (
            (Call("", Payload.inlined(pickle)), "loads no pickles"),
            (Call(foreign.id, rich), "none that a call brings"),
            (Call(echo.id, rich, artifact_data=foreign.data), "none that a call brings"),
        ):
            assert words in here.refused(endpoint, call.to_input())[1]
        stored = Payload(sha256=hashlib.sha256(pickle).hexdigest(), size=len(pickle))
        here.client.put(f"/flash/v1/values/{stored.sha256}", content=pickle).raise_for_status()
        failed = here.runsync(endpoint, Call("", stored).to_input())
        assert "loads no pickles" in failed["error"]
        assert not mark.exists()


SLOW = """
import time
from pathlib import Path
def version(seconds=0, gate: Path | None = None):
    time.sleep(seconds)
    while gate is not None and not gate.exists(): time.sleep(0.01)
    return {number!r}
"""
SECONDS = (parameter("seconds", "number", required=False), parameter("gate", "string", required=False))


def test_jobs_run_the_version_that_was_there_when_they_came(shared_place: Place, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    one, two, three = (code("version", SLOW.format(number=number), SECONDS) for number in (1, 2, 3))
    with deployed(shared_place) as here:
        endpoint = here.endpoint("own-version", one)
        assert here.runsync(endpoint, {})["output"] == 1
        old = [here.run(endpoint, {"gate": str(gate)}) for _ in range(3)]
        here.switch(endpoint, two)
        new = [here.run(endpoint, {"__empty": True}) for _ in range(3)]
        here.switch(endpoint, three)
        newest = here.run(endpoint, {})
        assert [here.ended(endpoint, job)["output"] for job in (newest, *new)] == [3, 2, 2, 2]
        assert here.client.get(f"/v2/{endpoint}/status/{old[-1]}").json()["status"] in ("IN_QUEUE", "IN_PROGRESS")
        gate.touch()
        ended = [here.ended(endpoint, job) for job in old]
        assert [job["output"] for job in ended] == [1] * 3
        assert len({job["workerId"] for job in ended}) == 1  # its own one went on

        def workers() -> int:
            return int(here.client.get(f"/v2/serverless/{endpoint}/workers").json()["summary"]["total"])

        wait_until(lambda: workers() <= 1)
        assert here.runsync(endpoint, {})["output"] == 3


@pytest.mark.slow
def test_accepted_jobs_keep_their_version_over_a_sigkill(place: Place) -> None:
    one, two = (code("version", SLOW.format(number=number), SECONDS) for number in (1, 2))
    with deployed(place) as here:
        endpoint = here.endpoint("own-version", one)
        jobs = [here.run(endpoint, {"seconds": 0.5}) for _ in range(3)]
        here.switch(endpoint, two)
        jobs.append(here.run(endpoint, {"seconds": 0}))
        killed = control_plane(place)
        killed.kill()
    wait_until(lambda: not lives(killed), 10, "the control plane has ended")
    place.serve()
    with deployed(place) as here:
        assert [here.ended(endpoint, job)["output"] for job in jobs] == [1, 1, 1, 2]


@pytest.mark.slow
def test_under_load_no_job_fails_at_a_switch_and_none_that_comes_after_it_runs_old_code(shared_place: Place) -> None:
    shipped = [code("version", SLOW.format(number=number), SECONDS) for number in range(4)]
    current, found, stop = 0, list[tuple[int, int, dict[str, Any]]](), threading.Event()

    def client(here: Deployed, endpoint: str) -> None:
        while not stop.is_set():
            before = current
            job = here.runsync(endpoint, {"seconds": 0.01})
            found.append((before, current, job))

    with deployed(shared_place) as here, ThreadPoolExecutor(4) as pool:
        endpoint = here.endpoint("own-loaded", shipped[0], workers={"min": 1, "max": 2, "idleTimeout": 60})
        clients = [pool.submit(client, here, endpoint) for _ in range(4)]
        try:
            for number in range(1, len(shipped)):
                so_far = len(found)
                wait_until(lambda so_far=so_far: len(found) > so_far + 20, 60)
                here.switch(endpoint, shipped[number])
                current = number
            so_far = len(found)
            wait_until(lambda: len(found) > so_far + 20, 60)
        finally:
            stop.set()
        for each in clients:
            each.result()
    assert {job["status"] for _, _, job in found} == {"COMPLETED"}
    assert {job["output"] for _, _, job in found} == {0, 1, 2, 3}
    # A switch is complete a moment before its client hears of that.
    assert [job for before, after, job in found if not before <= job["output"] <= after + 1] == []
