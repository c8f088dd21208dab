"""Which parameters a call fills, by their names: so that one that was written for another version is told apart.

The values of a call from our SDK stay unopened on their way; this is what can be checked of it before it runs.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker_runtime.wire.fields import require, strings
from worker_runtime.wire.interface import FUNCTION, Interface, Parameter

UNLISTED: Final = frozenset({"close", "aclose", "__call__"})
"""Methods that an interface may leave out though they are there."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The parameters of a call as its caller knows them.

    Attributes:
        placed: those that are filled by their place, in order.
        named: those that are filled by name.
        more: how many values go to the caller's `*args`.
    """

    placed: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    more: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"placed": list(self.placed), "named": list(self.named), "more": self.more}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Shape":
        """Read what `to_json` wrote. Raises WireError."""
        return cls(strings(data, "placed"), strings(data, "named"), require(data, "more", int, default=0))


def misfit(interface: Interface, method: str | None, shape: Shape) -> str | None:
    """In what a call differs from what an interface takes; None where it fits, as far as can be told."""
    name = FUNCTION if method is None else method
    parameters = interface.calls.get(name)
    if parameters is None:
        if name in UNLISTED or name == FUNCTION:
            return None
        return f"it has no method '{name}'{_near(name, [*interface.calls])}"
    fault = _by_place(parameters, shape) or _by_name(parameters, shape) or _missing(parameters, shape)
    return None if fault is None else f"{fault}; it takes ({', '.join(map(_shown, parameters))})"


def _by_place(parameters: Sequence[Parameter], shape: Shape) -> str | None:
    there = [each for each in parameters if each.kind in ("positional", "either")]
    for index, given in enumerate(shape.placed):
        if index >= len(there):
            return f"it has no parameter '{given}' as its number {index + 1}"
        if there[index].kind == "either" and there[index].name != given:
            return f"its parameter number {index + 1} is '{there[index].name}', and not '{given}'"
    return None


def _by_name(parameters: Sequence[Parameter], shape: Shape) -> str | None:
    if any(each.kind == "rest" for each in parameters):
        return None
    known = [each.name for each in parameters if each.kind in ("named", "either")]
    unknown = next((given for given in shape.named if given not in known), None)
    return None if unknown is None else f"it has no parameter '{unknown}'{_near(unknown, known)}"


def _missing(parameters: Sequence[Parameter], shape: Shape) -> str | None:
    by_place = [each.name for each in parameters if each.kind in ("positional", "either")]
    filled = {*by_place[: len(shape.placed) + shape.more], *shape.named}
    missing = next((each.name for each in parameters if each.required and each.name not in filled), None)
    return None if missing is None else f"its parameter '{missing}' is not filled"


def _shown(parameter: Parameter) -> str:
    if parameter.kind == "rest":
        return f"**{parameter.name}"
    return parameter.name if parameter.required else f"{parameter.name}=…"


def _near(given: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, names, n=1)
    return f" (there is '{close[0]}')" if close else ""
