"""Clients of endpoints that are there: jobs with plain input, HTTP requests, hundreds at a time; provisioning alone."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.place import Place
from tests.support.plain_endpoints import plain_endpoint


@pytest.fixture(scope="module")
def queue(shared_place: Place) -> str:
    """The id of an endpoint whose worker is a handler of somebody's own."""
    return plain_endpoint(shared_place, "client-queue")


@pytest.fixture(scope="module")
def balanced(shared_place: Place) -> str:
    """The id of a load-balanced endpoint."""
    return plain_endpoint(shared_place, "client-balanced", balanced=True)


def printed(place: Place, script: str, **values: Any) -> Any:
    """Run a script with these variables; what it has printed, as JSON."""
    head = "import asyncio, json\nfrom runpod_flash import Endpoint, errors\n"
    names = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    return json.loads(place.run_script(head + names + script).good().stdout)


def test_jobs_of_a_handler(shared_place: Place, queue: str) -> None:
    script = """
ep = Endpoint(id=ID)
def outcome(job):
    try:
        return job.result()
    except errors.RemoteError as error:
        return error.type_name
async def main():
    job = await ep.run({"prompt": "hello"})
    assert await job.wait(timeout=60) is job
    sync = await ep.runsync({"input": {"do": "job"}, "policy": {"ttl": 20000}}, timeout=60)
    many = [chunk async for chunk in (await ep.run({"do": "yield", "count": 40})).stream()]
    return [job.output, sync.output, len(many), many[-1]]
results = asyncio.run(main())
failing = ep.run({"unless": FLAG})
results.append(outcome(failing))
open(FLAG, "w").close()
results += [failing.retry().result(), [chunk["number"] for chunk in ep.run({"do": "yield", "count": 3}).stream()]]
waiting = ep.run({"until": FLAG + "never"})
while ep.status(waiting.id)._seen["status"] == "IN_QUEUE":
    pass
results += [ep.cancel(waiting.id).status(), ep.purge(), sorted(ep.health()["jobs"])]
print(json.dumps(results))
"""
    found = printed(shared_place, script, ID=queue, FLAG=str(shared_place.project / "flag-of-client"))
    assert found == [
        {"echo": {"prompt": "hello"}},
        {"input": {"do": "job"}},
        40,
        {"number": 39},
        "ValueError",
        {"echo": {"unless": str(shared_place.project / "flag-of-client")}},
        [0, 1, 2],
        "CANCELLED",
        0,
        ["completed", "failed", "inProgress", "inQueue", "retried"],
    ]


@pytest.mark.slow
def test_requests_and_hundreds_of_them_at_a_time(shared_place: Place, balanced: str) -> None:
    """The 300 are answered by their worker only when all of them are there."""
    script = """
ep = Endpoint(id=ID)
async def main():
    one = await ep.post("/v1/completions?a=1", {"prompt": "Hello"}, params={"b": [1, 2]}, headers={"X-A": "b"})
    kinds = [await ep.get("/text", params={"content": "hé"}), str(await ep.put("/bytes?content=a"))]
    try:
        await ep.delete("/x?status=409&content=[1]", b"raw")
    except errors.ResponseError as error:
        kinds += [error.status, error.body]
    try:
        await ep.patch("/x?until=/never", timeout=0.5)
    except errors.WaitTimedOut:
        kinds.append("late")
    many = await asyncio.gather(*(ep.get(f"/{n}?together=300") for n in range(300)))
    paths = sorted(int(each["path"].partition("?")[0][1:]) for each in many)
    return [one["path"], one["body"], one["headers"]["x-a"], *kinds, paths == list(range(300))]
print(json.dumps(asyncio.run(main())))
"""
    found = printed(shared_place, script, ID=balanced)
    assert found == [
        "/v1/completions?a=1&b=1&b=2", '{"prompt":"Hello"}', "b", "hé", "b'a'", 409, [1], "late", True,
    ]  # fmt: skip


def test_three_hundred_jobs_are_waited_for_at_a_time(shared_place: Place, queue: str) -> None:
    """None of them ends before all are submitted: those that are held come first in the queue."""
    script = """
ep = Endpoint(id=ID)
async def main():
    held = [asyncio.create_task(ep.runsync({"n": n, "until": FLAG}, timeout=100)) for n in range(150)]
    jobs = await asyncio.gather(*(ep.run({"n": n, "until": FLAG}) for n in range(150, 300)))
    assert not any(task.done() for task in held)
    open(FLAG, "w").close()
    ended = await asyncio.gather(*held, *(job.wait(timeout=100) for job in jobs))
    return [job.output["echo"]["n"] for job in ended]
print(json.dumps(asyncio.run(main())))
"""
    flag = str(shared_place.project / "flag-of-many")
    assert printed(shared_place, script, ID=queue, FLAG=flag) == list(range(300))


def test_provision_makes_it_without_a_call(shared_place: Place) -> None:
    script = """
@Endpoint(name="provisioned", cpu="cpu3c-1-2")
def f(x): return x + 1
@Endpoint(name="provisioned-class", cpu="cpu3c-1-2")
class C: pass
ep = Endpoint(name="provisioned-alone", cpu="cpu3c-1-2", workers=3)
assert ep.id is ep.url is f.id is f.url is None
async def main():
    return [await each.provision() for each in (f, C, ep)]
found = [(each.id, each.url) for each in asyncio.run(main())]
assert found[0] == (f.id, f.url) and found[2] == (ep.id, ep.url)
again = ep.provision()                                # blocking, and nothing changes
assert (again.id, again.url) == found[2]
assert Endpoint(id=ep.id).provision() == again
print(json.dumps([found, f.remote(1), f.id == found[0][0]]))
"""
    found, value, same = printed(shared_place, script)
    assert (value, same) == (2, True)
    shown = {each["name"]: each for each in shared_place.endpoints()}
    names = ("provisioned", "provisioned-class", "provisioned-alone")
    assert [tuple(each) for each in found] == [(shown[name]["id"], shown[name]["url"]) for name in names]


def test_code_in_a_worker_is_a_client_too(shared_place: Place, queue: str, balanced: str) -> None:
    script = """
@Endpoint(name="client-in-worker", cpu="cpu3c-1-2")
async def call(queue, balanced):
    from runpod_flash import Endpoint
    job = await Endpoint(id=queue).runsync({"n": 1}, timeout=60)
    return job.output, (await Endpoint(id=balanced).get("/there"))["path"]
print(json.dumps(call.remote(QUEUE, BALANCED)))
"""
    found = printed(shared_place, script, QUEUE=queue, BALANCED=balanced)
    assert found == [{"echo": {"n": 1}}, "/there"]


MISTAKES: Mapping[str, tuple[str, str]] = {
    "ep.run({'a': 1})": ("EndpointNotFound", "no endpoint 'nobodys'"),
    "ep.get.blocking('/x')": ("EndpointNotFound", "no endpoint 'nobodys'"),
    "ep.provision()": ("EndpointNotFound", "no endpoint 'nobodys'"),
    "ep.run('text')": ("CallError", "must be a dict"),
    "ep(print)": ("ConfigError", "cannot decorate"),
    "ep.get('/x')(print)": ("CallError", "cannot decorate"),
    "ep.post.blocking('x', 1)": ("CallError", "did you mean '/x'"),
    "Endpoint(id='a', gpu='NVIDIA L4')": ("ConfigError", "gpu="),
    "Endpoint(id='a', image='b')": ("ConfigError", "exclude each other"),
    "queue.get.blocking('/x')": ("ResponseError", "takes jobs and answers no HTTP requests"),
    "balanced.run({'a': 1})": ("ConfigError", "answers HTTP requests and takes no jobs"),
    "own.run({'a': 1})": ("ConfigError", "endpoint 'client-own' runs a decorated function"),
    "own.runsync({'a': 1})": ("ConfigError", "takes no plain input"),
    "queue.status('unknown')": ("JobNotFound", "unknown"),
}


def test_mistakes(shared_place: Place, queue: str, balanced: str) -> None:
    script = """
ep, queue, balanced = Endpoint(id="nobodys"), Endpoint(id=QUEUE), Endpoint(id=BALANCED)
own = Endpoint(id=Endpoint("client-own", cpu="cpu3c-1-2").provision().id)
found = []
for mistake in MISTAKES:
    try:
        eval(mistake)
        found.append(["nothing", ""])
    except errors.FlashError as error:
        found.append([type(error).__name__, str(error)])
print(json.dumps(found))
"""
    found = printed(shared_place, script, QUEUE=queue, BALANCED=balanced, MISTAKES=list(MISTAKES))
    for mistake, (kind, message) in zip(MISTAKES, found, strict=True):
        assert kind == MISTAKES[mistake][0], (mistake, message)
        assert MISTAKES[mistake][1] in message, (mistake, message)
