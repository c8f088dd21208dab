"""Plain JSON for the calls of an interface: which call is meant, whether its parameters are filled, and rightly so.

    {"input": {"prompt": "a cat", "steps": 20}}              a function, or a class with one public method
    {"input": {"method": "upscale", "image": "…"}}           a class with several
    {"input": {}}, {"input": {"__empty": true}}              no arguments

Values are checked as far as their outermost type; what is inside them is for the code itself to check.
"""

import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker_runtime.wire.interface import FUNCTION, Interface, Parameter

METHOD: Final = "method"
"""The key that says which method of a class is called."""

EMPTY: Final = "__empty"
"""The key of an input that stands for no arguments: the published API takes no empty input."""

_WORDS: Final[Mapping[str, str]] = {
    "string": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_SHOWN: Final = 80


class Misfit(ValueError):
    """An input that fits no call. `faults` has all that is wrong with it, each in one sentence."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Bound:
    """What an input asks for: the method, None for a function, and the values of parameters by name."""

    method: str | None
    arguments: Mapping[str, Any]


def bind(interface: Interface, given: Mapping[str, Any]) -> Bound:
    """The call that an input asks for, checked against the parameters of that.

    Raises:
        Misfit: there is no such call, or its parameters are filled in another way than they can be.
    """
    rest = dict(given)
    if EMPTY in rest and rest == {EMPTY: True}:
        rest = {}
    name = _call_of(interface, rest)
    parameters = interface.calls[name]
    named = {each.name: each for each in parameters if each.kind != "rest"}
    if name != FUNCTION and METHOD not in named and rest.get(METHOD) == name:
        del rest[METHOD]
    faults = [] if rest.keys() == named.keys() else [*_unknown(name, parameters, named, rest), *_missing(named, rest)]
    for key, each in named.items():
        if key not in rest or not each.schema:
            continue
        allowed = _misfit(each.schema, rest[key])
        if allowed is not None:
            faults.append(f"field 'input.{key}' is {_shown(rest[key])}; it must be {allowed}")
        elif isinstance(rest[key], float):
            rest[key] = _as_typed(each.schema, rest[key])
    if faults:
        raise Misfit(faults)
    return Bound(None if name == FUNCTION else name, rest)


def _call_of(interface: Interface, given: Mapping[str, Any]) -> str:
    """The name of the call in the interface."""
    names = list(interface.calls)
    if len(names) == 1:
        return names[0]
    allowed = _either(map(repr, names)) if names else "nothing: the class has no public method"
    if METHOD not in given:
        raise Misfit([f"field 'input.{METHOD}' is missing; it says which method is called and must be {allowed}"])
    wanted = given[METHOD]
    if wanted not in names:
        raise Misfit([f"field 'input.{METHOD}' is {_shown(wanted)}; it must be {allowed}{_near(wanted, names)}"])
    return str(wanted)


def _unknown(
    name: str, parameters: Sequence[Parameter], named: Mapping[str, Parameter], given: Mapping[str, Any]
) -> Iterator[str]:
    if any(each.kind == "rest" for each in parameters):
        return
    what = f"method '{name}'" if name else "the function"
    takes = f"takes {_all(map(repr, sorted(named)))}" if named else "takes nothing"
    for key in given:
        if key not in named:
            yield f"field 'input.{key}' is unknown; {what} {takes}{_near(key, named)}"


def _missing(named: Mapping[str, Parameter], given: Mapping[str, Any]) -> Iterator[str]:
    for name, each in named.items():
        if each.required and name not in given:
            allowed = _said(each.schema)
            yield f"field 'input.{name}' is missing{f'; it must be {allowed}' if allowed else ''}"


# ---- the outermost part of JSON Schema


def _misfit(schema: Mapping[str, Any], value: Any) -> str | None:
    """What is allowed in place of a value that a schema does not; None where it fits, or nobody can tell."""
    return None if fits(schema, value) else _said(schema) or "something else"


def fits(schema: Any, value: Any) -> bool:
    """Whether a value is of a type, and one of the values, that a JSON Schema names; what is inside is not looked at.

    True where the schema has nothing of that: type, enum, const, anyOf, oneOf, allOf.
    """
    if not isinstance(schema, Mapping):
        return schema is not False
    if len(schema) == 1 and isinstance(schema.get("type"), str):
        return _is(value, schema["type"])
    if "const" in schema and not _same(schema["const"], value):
        return False
    if isinstance(schema.get("enum"), list) and not any(_same(each, value) for each in schema["enum"]):
        return False
    types = _types(schema)
    if types and not any(_is(value, each) for each in types):
        return False
    if not all(fits(each, value) for each in _listed(schema, "allOf")):
        return False
    ways = [*_listed(schema, "anyOf"), *_listed(schema, "oneOf")]
    return not ways or any(fits(each, value) for each in ways)


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return _is(value, "number") and (isinstance(value, int) or (math.isfinite(value) and value == int(value)))
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    return True


def _same(allowed: Any, value: Any) -> bool:
    """Whether two values are equal as JSON has it, where true is not 1."""
    return bool(allowed == value) and isinstance(allowed, bool) == isinstance(value, bool)


def _types(schema: Mapping[str, Any]) -> list[str]:
    named = schema.get("type")
    return [named] if isinstance(named, str) else [str(each) for each in named] if isinstance(named, list) else []


def _listed(schema: Mapping[str, Any], key: str) -> list[Any]:
    found = schema.get(key)
    return found if isinstance(found, list) else []


def _as_typed(schema: Mapping[str, Any], value: Any) -> Any:
    """JSON has one kind of number: 3.0 is the integer 3 where an integer is wanted and no other number is."""
    wanted = _types(schema) + [
        kind for each in _listed(schema, "anyOf") if isinstance(each, dict) for kind in _types(each)
    ]
    if isinstance(value, float) and "integer" in wanted and "number" not in wanted:
        return int(value)
    return value


# ---- words


def _said(schema: Any) -> str:
    """What a schema allows, in words; "" where there are none for it."""
    if not isinstance(schema, Mapping):
        return ""
    if "const" in schema:
        return _shown(schema["const"])
    if isinstance(schema.get("enum"), list):
        return _either(map(_shown, schema["enum"]))
    if _types(schema):
        return _either(_WORDS.get(each, each) for each in _types(schema))
    ways = [_said(each) for each in (*_listed(schema, "anyOf"), *_listed(schema, "oneOf"))]
    return _either(dict.fromkeys(ways)) if ways and all(ways) else ""


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _near(given: Any, allowed: Iterable[str]) -> str:
    words = {word.replace("_", "").lower(): word for word in allowed}
    wanted = given.replace("_", "").replace("-", "").lower() if isinstance(given, str) else ""
    close = difflib.get_close_matches(wanted, words, n=1, cutoff=0.55)
    return f"; did you mean '{words[close[0]]}'?" if close else ""


def _either(words: Iterable[str]) -> str:
    return _listing(list(words), "or")


def _all(words: Iterable[str]) -> str:
    return _listing(list(words), "and")


def _listing(words: list[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
