"""Exceptions as data."""

import threading
from typing import Any

import pytest

from worker_runtime.failures import MESSAGE_LIMIT, describe, load_failure, type_name, unpicklable
from worker_runtime.wire import payload
from worker_runtime.wire.class_names import SCRIPT
from worker_runtime.wire.jobs import ErrorKind


class Odd(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("odd")


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Changing(Exception):
    def __reduce__(self) -> Any:
        return ValueError, ("another type",)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - any error is described
        return caught


def test_an_exception_travels_with_its_text_and_itself() -> None:
    info = describe(raised(ValueError("no")))
    assert (info.kind, info.type, info.message) == (ErrorKind.USER, "ValueError", "no")
    assert "in raised" in info.traceback
    assert info.traceback.endswith("ValueError: no\n")
    rebuilt = payload.decode(info.exception or b"")
    assert isinstance(rebuilt, ValueError)
    assert rebuilt.args == ("no",)


@pytest.mark.parametrize("error", [Odd(1, 2), Changing(), ValueError(threading.Lock()), ValueError("x" * 2_000_000)])
def test_what_does_not_survive_the_way_travels_as_text(error: Exception) -> None:
    info = describe(raised(error))
    assert info.exception is None
    assert info.type == type_name(type(error))


def test_a_message_that_cannot_be_read() -> None:
    info = describe(raised(Silent()))
    assert "RuntimeError" in info.message
    assert "Silent" in info.traceback


def test_long_messages_are_shortened() -> None:
    info = describe(raised(ValueError("x" * 3_000_000)))
    assert len(info.message) < MESSAGE_LIMIT + 100
    assert len(info.traceback) < MESSAGE_LIMIT + 100


def test_groups_and_causes_are_told() -> None:
    group = ExceptionGroup("two", [ValueError("one"), KeyError("two")])
    group.__cause__ = OSError("the cause")
    text = describe(raised(group)).traceback
    assert "ValueError: one" in text
    assert "OSError: the cause" in text


def test_results_that_cannot_travel_are_named() -> None:
    info = unpicklable("f", (number for number in [1]), TypeError("cannot pickle 'generator' object"))
    assert info.kind is ErrorKind.UNPICKLABLE_RESULT
    said = "the result of 'f' is a generator, which cannot leave the worker; return a list of its values"
    assert info.message == f"{said}, or put @Endpoint on the function that yields them and call its .stream(…)"
    info = unpicklable("f", {1: 2}, TypeError("cannot pickle '_thread.lock' object"))
    assert "of type dict" in info.message
    assert "TypeError: cannot pickle '_thread.lock' object" in info.message


def test_load_failures_say_what_and_why() -> None:
    info = load_failure("the code of 'f'", raised(ImportError("nothing there")))
    assert info.message == "the code of 'f' could not be loaded on the worker: ImportError: nothing there"


class Forgetful(Exception):
    """Its own way to be rebuilt knows no notes."""

    def __reduce__(self) -> Any:
        return Forgetful, self.args


@pytest.mark.parametrize("kind", [ValueError, Forgetful])
def test_notes_travel_whatever_the_exception_thinks_of_them(kind: type[Exception]) -> None:
    error = kind("bad")
    error.add_note("at the third row")
    found = describe(error)
    assert found.exception is not None
    rebuilt = payload.decode(found.exception)
    assert type(rebuilt) is kind
    assert (rebuilt.args, rebuilt.__notes__) == (("bad",), ["at the third row"])


def test_classes_of_the_script_are_called_as_the_caller_knows_them() -> None:
    base = type("Base", (Exception,), {"__module__": SCRIPT})
    info = describe(type("Oops", (base,), {"__module__": SCRIPT})("x"))
    assert info.type == "__main__.Oops"
    assert "__main__.Base" in info.bases  # by which `Retries(on=…)` knows it
