"""How a call can end badly: each way is a typed error, and the endpoint goes on working."""

import pytest

from tests.support.place import Place

HEAD = """
import asyncio, os, signal, sys, threading, time
from runpod_flash import Endpoint, errors
class Oops(Exception):
    def __init__(self, code, *, extra): super().__init__(f"oops {code}"); self.code, self.extra = code, extra
    def __reduce__(self): return (_again, (self.code, self.extra))
def _again(code, extra): return Oops(code, extra=extra)
class Rigid(Exception):
    def __init__(self, a, b): super().__init__("rigid")
@Endpoint(name="failing", cpu="cpu3c-1-2", retries=RETRIES)
def f(how):
    exec(how, {"os": os, "signal": signal, "sys": sys, "Oops": Oops, "Rigid": Rigid})
    return "fine"
def attempt(how):
    try:
        return f.remote(how)
    except errors.FlashError as error:
        return type(error).__name__, str(error), error
    except Exception as error:
        return type(error).__name__, str(error), error
"""


def outcome(place: Place, how: str, check: str, *, retries: str = "None") -> str:
    """Run the failing call, check the error, then make sure that the endpoint still works."""
    script = (
        HEAD.replace("RETRIES", retries)
        + f"""
name, text, error = attempt({how!r})
print(name, {check})
assert attempt("") == "fine"
"""
    )
    return place.run_script(script).good().stdout.strip()


@pytest.mark.parametrize(
    ("how", "check", "expected"),
    [
        (
            "raise ValueError('bad')",
            "text, type(error.__cause__).__name__, error.__cause__.attempts",
            "ValueError bad RemoteError 1",
        ),
        ("raise KeyError('k')", "error.args", "KeyError ('k',)"),
        ("raise Oops(7, extra='e')", "type(error) is Oops, error.code, error.extra", "Oops True 7 e"),
        ("1 / 0", "'ZeroDivisionError' in error.__cause__.remote_traceback", "ZeroDivisionError True"),
        ("raise Rigid(1, 2)", "'rigid' in text, error.type_name", "RemoteError True __main__.Rigid"),
        ("sys.exit(3)", "'SystemExit' in text", "RemoteError True"),
        ("raise KeyboardInterrupt", "error.type_name", "RemoteError KeyboardInterrupt"),
        ("raise StopIteration(5)", "error.type_name", "RemoteError StopIteration"),
        ("os._exit(9)", "'code 9' in text, error.attempts", "WorkerLost True 2"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "'SIGKILL' in text", "WorkerLost True"),
        ("import ctypes; ctypes.string_at(0)", "'SIGSEGV' in text", "WorkerLost True"),
    ],
)
def test_each_failure_is_told_as_what_it_is(shared_place: Place, how: str, check: str, expected: str) -> None:
    assert outcome(shared_place, how, check) == expected


def test_retries_zero_means_one_start(shared_place: Place) -> None:
    assert outcome(shared_place, "os._exit(9)", "error.attempts", retries="0") == "WorkerLost 1"


def test_a_result_that_cannot_be_pickled_is_named(shared_place: Place) -> None:
    script = """
import asyncio, threading
from runpod_flash import Endpoint, errors
@Endpoint(name="unpicklable", cpu="cpu3c-1-2")
def f(bad): return threading.Lock() if bad else 1
try:
    f.remote(True)
except errors.NotPicklable as error:
    print("lock" in str(error))
print(f.remote(False))
"""
    assert shared_place.run_script(script).good().stdout.split() == ["True", "1"]


def test_a_call_that_runs_too_long_is_ended(shared_place: Place) -> None:
    script = """
import time
from runpod_flash import Endpoint, errors
@Endpoint(name="slowly", cpu="cpu3c-1-2", execution_timeout_ms=700)
def f(seconds): time.sleep(seconds); return "fine"
try:
    f.remote(60)
except errors.JobTimedOut as error:
    print(type(error).__name__, isinstance(error, TimeoutError))
print(f.remote(0))
"""
    assert shared_place.run_script(script).good().stdout.split() == ["JobTimedOut", "True", "fine"]


def test_a_cancelled_await_cancels_the_job(shared_place: Place) -> None:
    path = shared_place.project / "survivor"
    script = f"""
import asyncio, time
from runpod_flash import Endpoint
@Endpoint(name="cancelled", cpu="cpu3c-1-2")
def f(seconds):
    for _ in range(int(seconds * 10)): time.sleep(0.1)
    if seconds: open({str(path)!r}, "w").write("x")
    return "fine"
async def main():
    print(await f(0))
    task = asyncio.create_task(f(3))
    await asyncio.sleep(0.7)
    task.cancel()
    started = time.monotonic()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled", time.monotonic() - started < 2.5)
    print(await f(0))
asyncio.run(main())
"""
    assert shared_place.run_script(script).good().stdout.splitlines() == ["fine", "cancelled True", "fine"]
    assert not path.exists()


def test_a_failed_installation_is_told_in_the_resolvers_words_and_once(shared_place: Place) -> None:
    script = """
import asyncio, time
from runpod_flash import Endpoint, errors
@Endpoint(name="uninstallable", cpu="cpu3c-1-2", dependencies=["no-such-package-of-this-name-xyz"])
def f(): return 1
async def main():
    results = await asyncio.gather(*[f() for _ in range(20)], return_exceptions=True)
    assert {type(r) for r in results} == {errors.InstallError}, results
    print("no-such-package-of-this-name-xyz" in str(results[0]))
    started = time.monotonic()
    try: await f()
    except errors.InstallError: print(time.monotonic() - started < 1)
asyncio.run(main())
"""
    assert shared_place.run_script(script).good().stdout.split() == ["True", "True"]
