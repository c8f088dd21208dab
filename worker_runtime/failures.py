"""Exceptions as data: what user code raised, described without the frames of this package."""

import contextlib
import inspect
import platform
import traceback
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from worker_runtime.wire import encoding
from worker_runtime.wire.class_names import MAIN, SCRIPT
from worker_runtime.wire.errors import CannotTravel
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind

MESSAGE_LIMIT = 64 * 1024
"""Characters of a message or traceback that travel."""

EXCEPTION_LIMIT = 1024 * 1024
"""Bytes of an encoded exception that travel; of a larger one only the text does."""

_OURS = str(Path(__file__).parent)


class Failed(Exception):
    """A call ended without a value, for a reason that is already described."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.message)
        self.info = info


def describe(
    error: BaseException, kind: ErrorKind = ErrorKind.USER, *, peer: encoding.Peer = encoding.PICKLES
) -> ErrorInfo:
    """What user code raised. The exception itself travels only where it survives being encoded and decoded."""
    bases = tuple(type_name(base) for base in type(error).__mro__[1:-1])
    return ErrorInfo(kind, type_name(type(error)), _text(error), _traceback(error), _encoded(error, peer), bases)


def load_failure(what: str, error: BaseException) -> ErrorInfo:
    """`what` could not be loaded on the worker."""
    name = type_name(type(error))
    message = f"{what} could not be loaded on the worker: {name}: {_text(error)}"
    return ErrorInfo(ErrorKind.LOAD, name, message, _traceback(error))


def script_failure(what: str, error: BaseException) -> ErrorInfo:
    """`what` could not be loaded from the caller's script, which is imported for that."""
    info = load_failure(what, error)
    advice = (
        'the script is imported here as a module, without what stands below `if __name__ == "__main__":`; put there '
        "what the caller alone shall run, calls of endpoints above all, and leave functions and classes outside of it"
    )
    return replace(info, message=f"{info.message}; {advice}")


def cannot_travel(function: str, error: CannotTravel, peer: encoding.Peer, *, what: str = "the result") -> ErrorInfo:
    """The result of `function`, or `what` it gives else, has no encoding that the caller could read."""
    if peer.plain:
        words = f"{error.path or 'the value'} in {what} of '{function}' {error.what}"
        return ErrorInfo(ErrorKind.UNPICKLABLE_RESULT, CannotTravel.__name__, words)
    message = (
        f"{error.path or 'the value'} in {what} of '{function}' {error.what}, which only a pickle could "
        f"carry, and none goes from Python {'.'.join(platform.python_version_tuple()[:2])} (the endpoint) to "
        f"{peer.python} (the caller) here; return plain data instead"
    )
    return ErrorInfo(ErrorKind.UNPICKLABLE_RESULT, CannotTravel.__name__, message)


def unpicklable(
    function: str, value: Any, error: BaseException, peer: encoding.Peer = encoding.PICKLES, *, what: str = "the result"
) -> ErrorInfo:
    """The result of `function`, or `what` it gives else, cannot travel."""
    kind = type_name(type(value))
    if inspect.isgenerator(value) or inspect.isasyncgen(value) or inspect.iscoroutine(value):
        word = {"generator": "a generator", "async_generator": "an asynchronous generator"}.get(kind, "a coroutine")
        message = f"{what} of '{function}' is {word}, which cannot leave the worker; return a list of its values"
        if word != "a coroutine":
            message += ", or put @Endpoint on the function that yields them and call its .stream(…)"
    else:
        way = "made JSON" if peer.plain else "pickled"
        message = (
            f"{what} of '{function}', of type {kind}, cannot be {way}: {type_name(type(error))}: {_text(error)}; "
            "return plain data instead"
        )
    return ErrorInfo(ErrorKind.UNPICKLABLE_RESULT, type_name(type(error)), message, _traceback(error))


def type_name(kind: type) -> str:
    """The qualified name, as the caller knows it: "ValueError", "__main__.Oops"."""
    module = MAIN if kind.__module__ == SCRIPT else kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise anything
        text = f"(its message cannot be read: {type(broken).__name__})"
    return _shortened(text)


def _traceback(error: BaseException) -> str:
    try:
        lines = traceback.TracebackException(type(error), error, _theirs(error.__traceback__)).format()
        return _shortened("".join(lines))
    except Exception as broken:  # noqa: BLE001 - formatting calls the user's own __str__, __cause__ and notes
        return f"(the traceback cannot be formatted: {type(broken).__name__})\n{type_name(type(error))}\n"


def _theirs(entry: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame on that is neither ours nor of the import machinery."""
    while entry is not None:
        file = entry.tb_frame.f_code.co_filename
        importing = file.startswith("<frozen importlib") or file.endswith("/importlib/__init__.py")
        if not importing and not file.startswith(_OURS):
            break
        entry = entry.tb_next
    return entry


def _encoded(error: BaseException, peer: encoding.Peer) -> bytes | None:
    if peer.plain:
        return None
    try:
        encoded = peer.encode(error)
        rebuilt = encoding.decode(encoded, encoding.ON_WORKERS)
        notes = getattr(error, "__notes__", [])
        if getattr(rebuilt, "__notes__", []) != notes:
            with contextlib.suppress(CannotTravel):  # only a pickle carries them then
                encoded = peer.encode(_Noted(error, notes))
    except Exception:  # noqa: BLE001 - the user's own __reduce__ and __init__ run here; the text travels anyway
        return None
    return encoded if type(rebuilt) is type(error) and len(encoded) <= EXCEPTION_LIMIT else None


class _Noted:
    """Pickles as an exception and its notes, which the exception's own `__reduce__` leaves out."""

    def __init__(self, error: BaseException, notes: list[str]) -> None:
        self._error, self._notes = error, notes

    def __reduce__(self) -> tuple[Any, ...]:
        return with_notes, (self._error, self._notes)


def with_notes(error: BaseException, notes: list[str]) -> BaseException:
    """The exception with these notes; what pickles of exceptions call."""
    error.__notes__ = notes
    return error


def _shortened(text: str) -> str:
    if len(text) <= MESSAGE_LIMIT:
        return text
    half = MESSAGE_LIMIT // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
