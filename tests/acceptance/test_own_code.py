"""Endpoints with code of their own: plain JSON in and out, from any client."""

import json

from tests.support.own_code import CHECK, Batch, code, deployed, parameter
from tests.support.place import Place
from tests.support.plane_api import control_plane
from tests.support.waiting import wait_until

FUNCTION = """
import dataclasses, datetime
@dataclasses.dataclass
class Cat:
    name: str
    born: datetime.date
def adopt(name, /, *, year=2020, **more):
    if year < 0: raise ValueError(f"nobody is born in {year}")
    return Cat(name, datetime.date(year, 1, 2)), sorted(more)
"""
ADOPT = (
    parameter("name", "string", place="positional"),
    parameter("year", "integer", required=False, place="named"),
    parameter("more", required=False, place="rest"),
)


def test_a_function_takes_plain_json_and_gives_some(shared_place: Place) -> None:
    with deployed(shared_place) as here:
        endpoint = here.endpoint("adopt", code("adopt", FUNCTION, ADOPT))
        done = here.runsync(endpoint, {"name": "Minka", "year": 2021, "a": 1, "b": None})
        assert (done["status"], done["output"]) == ("COMPLETED", [{"name": "Minka", "born": "2021-01-02"}, ["a", "b"]])
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
        endpoint = here.endpoint("model", code("Model", CLASS, METHODS, kind="class"))
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
        endpoint = here.endpoint("double", shipped)
        assert here.runsync(endpoint, CHECK)["output"] == {"flash": {"checked": True}}
        jobs = [here.run(endpoint, {"texts": "n", "numbers": number}) for number in (1, 2)]
        assert [here.ended(endpoint, job)["output"] for job in jobs] == ["n2 of 2", "n4 of 2"]


SLOW = """
import time
def version(seconds=0):
    time.sleep(seconds)
    return {number!r}
"""
SECONDS = (parameter("seconds", "number", required=False),)


def test_jobs_run_the_version_that_was_there_when_they_came(shared_place: Place) -> None:
    one, two, three = (code("version", SLOW.format(number=number), SECONDS) for number in (1, 2, 3))
    with deployed(shared_place) as here:
        endpoint = here.endpoint("version", one)
        assert here.runsync(endpoint, {})["output"] == 1
        old = [here.run(endpoint, {"seconds": 0.3}) for _ in range(6)]
        here.switch(endpoint, two)
        new = [here.run(endpoint, {"__empty": True}) for _ in range(3)]
        here.switch(endpoint, three)
        newest = here.run(endpoint, {})
        assert [here.ended(endpoint, job)["output"] for job in (newest, *new)] == [3, 2, 2, 2]
        assert here.client.get(f"/v2/{endpoint}/status/{old[-1]}").json()["status"] in ("IN_QUEUE", "IN_PROGRESS")
        ended = [here.ended(endpoint, job) for job in old]
        assert [job["output"] for job in ended] == [1] * 6
        assert len({job["workerId"] for job in ended}) == 1  # its own one went on

        def workers() -> int:
            return int(here.client.get(f"/v2/serverless/{endpoint}/workers").json()["summary"]["total"])

        wait_until(lambda: workers() <= 1)
        assert here.runsync(endpoint, {})["output"] == 3


def test_accepted_jobs_keep_their_version_over_a_sigkill(place: Place) -> None:
    one, two = (code("version", SLOW.format(number=number), SECONDS) for number in (1, 2))
    with deployed(place) as here:
        endpoint = here.endpoint("version", one)
        jobs = [here.run(endpoint, {"seconds": 0.5}) for _ in range(3)]
        here.switch(endpoint, two)
        jobs.append(here.run(endpoint, {"seconds": 0}))
        control_plane(place).kill()
    place.flash("server", "start").good()
    with deployed(place) as here:
        assert [here.ended(endpoint, job)["output"] for job in jobs] == [1, 1, 1, 2]
