"""Both encodings of values: pickles between equal Python versions, the neutral encoding where those may not be.

Which one a payload is in says its mark; a worker answers in the encoding of the call. Calls that came as plain JSON say
so themselves (`Call.plain`), and are answered in that.
"""

from dataclasses import dataclass
from typing import Any

from worker_runtime.wire import neutral, payload, plain_json
from worker_runtime.wire.class_names import ClassNames, any_module
from worker_runtime.wire.errors import PicklesRefused
from worker_runtime.wire.pieces import WHOLE_LIMIT, Encoded, Part, Pieces, joined

ON_WORKERS = ClassNames(any_module)
"""The names of classes on a worker: it has the caller's script under the name that the caller gave it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of a call.

    `python`: its version where the call is in the neutral encoding, else None. `plain`: it reads JSON alone.
    """

    python: str | None = None
    plain: bool = False

    def encode(self, value: Any) -> bytes:
        """Encode a value of a worker as the other side reads it.

        Raises:
            CannotTravel: the neutral encoding, or JSON, has no form for a part of it.
            Exception: what the pickling of a part of it raises.
        """
        return joined(self.encode_pieces(value))

    def encode_pieces(self, value: Any) -> Encoded:
        """As `encode`, but a large value need not be copied: see `payload.encode_pieces`."""
        if self.plain:
            return plain_json.encode(value)
        return (
            payload.encode_pieces(value) if self.python is None else in_pieces(neutral.encode(value, ON_WORKERS).data)
        )


PICKLES = Peer()
PLAIN = Peer(plain=True)


def in_pieces(data: bytes) -> Encoded:
    """Bytes, as pieces where they are many."""
    return Pieces([data]) if len(data) > WHOLE_LIMIT else data


def peer_of(data: Part) -> Peer:
    """Who wrote a payload, as far as its encoding tells. Raises WireError."""
    return Peer(neutral.python_of(data)) if neutral.is_neutral(data) else PICKLES


def decode(data: Part, names: ClassNames, *, pickles: bool = True) -> Any:
    """The value of a payload in either encoding. `pickles`: whether one may be loaded.

    Raises:
        PicklesRefused: it is a pickle where none may be loaded.
        WireError, VersionMismatch: it is no payload, or one for another version.
        UnknownClass, ModuleNotFoundError: a class or package that it needs is not here.
        Exception: what the unpickling of a part of it raises.
    """
    if neutral.is_neutral(data):
        return neutral.decode(data, names)
    if not pickles:
        payload.check(data)
        raise PicklesRefused("this platform loads no pickles of yours; send values in the neutral encoding")
    return payload.decode(data)
