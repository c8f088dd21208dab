"""Values as bytes. The only file of the project that pickles or unpickles.

A payload starts with the mark `FP`, the protocol version and the Python version (major, minor) that wrote it, one byte
each; the pickle follows. The version is compared before anything is unpickled: code objects of another minor version
can kill the interpreter.
"""

import io
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle

from worker_runtime.wire import PROTOCOL
from worker_runtime.wire.errors import VersionMismatch, WireError

_MARK = b"FP"
_PREFIX = _MARK + bytes([PROTOCOL, *sys.version_info[:2]])

TypeKey = Callable[[type], str | None]
"""Gives a class that travels by value a key that is the same in every process, or None to leave it to cloudpickle."""


def encode(value: Any, type_key: TypeKey | None = None) -> bytes:
    """Pickle a value. Raises what the pickling of a part of it raises (TypeError, PicklingError, RecursionError …)."""
    buffer = io.BytesIO()
    buffer.write(_PREFIX)
    _Pickler(buffer, type_key).dump(value)
    return buffer.getvalue()


def decode(payload: bytes) -> Any:
    """Unpickle a payload.

    Raises:
        VersionMismatch: it was written by another protocol or Python minor version; nothing was unpickled.
        WireError: it is no payload.
    """
    check(payload)
    return cloudpickle.loads(memoryview(payload)[len(_PREFIX) :])


def check(payload: bytes) -> None:
    """Compare the payload's mark and versions with this process; raises as `decode` does."""
    if payload[:2] != _MARK or len(payload) < len(_PREFIX):
        raise WireError("these bytes are no payload of this framework")
    protocol, *python = payload[2:5]
    if protocol != PROTOCOL:
        raise VersionMismatch(f"the payload has protocol {protocol}, this side speaks {PROTOCOL}; use one version on both sides")
    if tuple(python) != sys.version_info[:2]:
        here = ".".join(map(str, sys.version_info[:2]))
        raise VersionMismatch(f"the payload was written by Python {python[0]}.{python[1]}, this is Python {here}; pickles are only safe between equal versions")


def travels_by_value(kind: type) -> bool:
    """Whether a class is pickled whole (as those of `__main__` are) instead of by its name."""
    return cloudpickle.cloudpickle._should_pickle_by_reference(kind) is False


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc,name-defined]
    """cloudpickle, but a class that travels by value keeps one identity over several runs of a program.

    cloudpickle makes the receiver reuse a class it has seen under the same tracker id; that id is random in each process,
    so a warm worker would meet the arguments of a second run as instances of another class than its function knows.
    """

    def __init__(self, buffer: io.BytesIO, type_key: TypeKey | None) -> None:
        super().__init__(buffer, protocol=5)
        self._type_key = type_key

    def reducer_override(self, obj: Any) -> Any:
        if self._type_key is not None and isinstance(obj, type) and travels_by_value(obj):
            _track(obj, self._type_key(obj))
        return super().reducer_override(obj)


def _track(kind: type, key: str | None) -> None:
    engine = cloudpickle.cloudpickle
    if key is None or engine._DYNAMIC_CLASS_TRACKER_BY_CLASS.get(kind) is not None:
        return
    with engine._DYNAMIC_CLASS_TRACKER_LOCK:
        engine._DYNAMIC_CLASS_TRACKER_BY_CLASS[kind] = key
        engine._DYNAMIC_CLASS_TRACKER_BY_ID[key] = kind
