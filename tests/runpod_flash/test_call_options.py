"""Options of single calls: what they may be, and that they have their effects on the platform in this process."""

import asyncio
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint, Retries
from runpod_flash.call_options import AS_DECLARED, CallOptions
from runpod_flash.calls import JobOptions
from runpod_flash.errors import ConfigError, JobExpired, JobTimedOut, UnknownOption
from runpod_flash.remote import RemoteFunction
from runpod_flash.session import Session
from runpod_flash.settings import serving
from tests.support.inline import inline_session
from worker_runtime.wire import payload

CPU: Any = {"cpu": "cpu3c-2-4"}
GATE = threading.Event()
ATTEMPTS: list[str] = []


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    ATTEMPTS.clear()
    GATE.clear()
    with inline_session(tmp_path) as session:
        yield session


class Busy(ConnectionError): ...


@Endpoint(**CPU)
async def wait(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@Endpoint(**CPU)
def hold() -> None:
    GATE.wait(30)


@Endpoint(**CPU, retries=Retries(3, on=(ConnectionError, "test_call_options.None"), initial_delay=0.01))
def fail(kind: str, times: int) -> int:
    ATTEMPTS.append(kind)
    if len(ATTEMPTS) <= times:
        raise {"busy": Busy("busy"), "bad": ValueError("bad")}[kind]
    return len(ATTEMPTS)


@Endpoint(**CPU)
class Sleeper:
    async def wait(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds


def test_an_attempt_that_runs_too_long() -> None:
    assert wait.with_options(timeout=60).remote(0) == 0
    with pytest.raises(JobTimedOut, match=r"longer than its timeout of 0.05 s"):
        wait.with_options(timeout=0.05).remote(60)
    with pytest.raises(TimeoutError):
        asyncio.run(_awaited(Sleeper().wait.with_options(timeout=0.05)(60)))
    assert wait.with_options(timeout=0.05).spawn(0).result() == 0
    assert list(wait.with_options(timeout=60).map([0, 0])) == [0, 0]


def test_a_call_that_waits_too_long_for_a_worker() -> None:
    blocker = hold.spawn()
    with pytest.raises(JobExpired, match=r"within its queue timeout of 0.05 s"):
        hold.with_options(queue_timeout=0.05).remote()
    with pytest.raises(TimeoutError):
        hold.with_options(queue_timeout=0.05).remote()
    GATE.set()
    blocker.result()
    hold.with_options(queue_timeout=30, priority="low", webhook="https://example.org/x").remote()


def test_retries_with_pauses_after_chosen_exceptions() -> None:
    assert fail.remote("busy", 2) == 3
    ATTEMPTS.clear()
    with pytest.raises(Busy):
        fail.remote("busy", 9)
    assert len(ATTEMPTS) == 4
    ATTEMPTS.clear()
    with pytest.raises(ValueError, match="bad"):
        fail.remote("bad", 9)
    assert len(ATTEMPTS) == 1
    ATTEMPTS.clear()
    assert fail.with_options(retries=1).remote("bad", 1) == 2
    ATTEMPTS.clear()
    with pytest.raises(Busy):
        fail.with_options(retries=0).remote("busy", 1)


def test_options_add_up_and_what_is_not_given_stays() -> None:
    one = wait.with_options(timeout=5)
    two = one.with_options(queue_timeout=6, priority="low")
    assert two._options == CallOptions(timeout=5.0, queue_timeout=6.0, priority="low")
    assert two.with_options(timeout=None, priority="normal")._options == CallOptions(queue_timeout=6, priority="normal")
    assert wait._options == AS_DECLARED
    assert two._options.job == JobOptions(5000, 6000, low_priority=True)
    assert CallOptions(priority="normal", webhook="http://h/").job == JobOptions(webhook="http://h/")
    assert repr(one) == "<remote function wait on endpoint 'wait' with timeout=5.0>"


def test_such_a_function_is_one_of_its_kind() -> None:
    one = wait.with_options(timeout=5)
    assert isinstance(one, RemoteFunction)
    assert one == wait.with_options(timeout=5) != wait
    assert wait.with_options() == wait
    assert len({one, wait.with_options(timeout=5), wait}) == 2
    assert (one.__name__, one.spec, one.__wrapped__) == (wait.__name__, wait.spec, wait.__wrapped__)  # type: ignore[attr-defined]
    assert asyncio.iscoroutinefunction(one)


def test_it_travels_with_its_options() -> None:
    again = pickle.loads(pickle.dumps(wait.with_options(timeout=5)))
    assert again == wait.with_options(timeout=5)
    assert again.__flash_target__ is wait.__flash_target__  # by name

    @Endpoint("inner", **CPU)
    def inner() -> int:
        return 1

    rebuilt = payload.decode(payload.encode(inner.with_options(retries=Retries(2))))
    assert rebuilt == inner.with_options(retries=Retries(2))
    assert rebuilt.remote() == 1
    token = serving.set("wait")
    try:
        payload.encode(again)  # a worker of the endpoint may hand it on
    finally:
        serving.reset(token)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": 0}, "timeout= is 0; it must be a number of seconds from 0.001 to 604800 (a week), or None"),
        ({"timeout": "5"}, "timeout= is '5'"),
        ({"timeout": True}, "timeout= is True"),
        ({"queue_timeout": 604_801}, "queue_timeout= is 604801"),
        ({"queue_timeout": float("inf")}, "queue_timeout= is inf"),
        ({"retries": -1}, "retries= is -1; it must be a whole number of 0 or more or Retries(…)"),
        (
            {"webhook": "example.org"},
            "webhook= is 'example.org'; it must be a URL such as 'https://host/path', or None",
        ),
        ({"webhook": 5}, "webhook= is 5"),
        ({"priority": "lo"}, "priority= is 'lo'; it must be 'normal' or 'low'; did you mean 'low'?"),
        ({"priority": 1}, "priority= is 1; it must be 'normal' or 'low'"),
    ],
)
def test_bad_values_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        wait.with_options(**options)
    assert said in str(raised.value)


def test_the_nearest_name_is_offered_for_one_that_does_not_exist() -> None:
    change: Any = wait.with_options
    with pytest.raises(UnknownOption, match=r"with_options\(\) has no option timout=; did you mean timeout=\?"):
        change(timout=5)
    with pytest.raises(UnknownOption, match="others belong to the endpoint"):
        change(gpu="any")


async def _awaited(coroutine: Any) -> Any:
    return await coroutine
