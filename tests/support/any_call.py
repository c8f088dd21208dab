"""Any function or method, as source text, and any call of it: strategies for tests of what travels."""

import keyword
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "self", "cls", "args", "kwargs", "name", "method", "timeout", "request", "ä", "_own", "Undefined")
DEFAULTS = ("None", "0", "[]", "{'k': [1]}", "(1, 'x')", "GLOBAL", "not GLOBAL", "lambda: 0", "Kept()")
ANNOTATIONS = ("int", "'Undefined | None'", "list['Kept']", "Kept", "...", "GLOBAL")

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(st.integers(), max_size=1)
    ),
    max_leaves=6,
)

PRELUDE = """
import asyncio, copy, functools, inspect
GLOBAL = [3]
class Kept:
    def __eq__(self, other): return type(other).__name__ == "Kept"
    def __hash__(self): return 1
def told(*given):
    for each in given:
        if isinstance(each, list): each.append("changed")
    return [each() if inspect.isfunction(each) else copy.deepcopy(each) for each in given]
"""
"""What the sources refer to. `told` changes what can be changed, a list that is a default, too, and tells the rest."""


@dataclass(frozen=True)
class Parameter:
    """One parameter as it is written: its kind is "/", "", "*", "k" (keyword only) or "**"."""

    name: str
    kind: str
    default: str = ""
    annotation: str = ""

    def __str__(self) -> str:
        stars = self.kind if self.kind in ("*", "**") else ""
        annotation = f": {self.annotation}" if self.annotation else ""
        return f"{stars}{self.name}{annotation}{f' = {self.default}' if self.default else ''}"


@dataclass(frozen=True)
class Signature:
    """All parameters, in a valid order."""

    parameters: tuple[Parameter, ...]

    def text(self, first: str = "", *, annotations: bool = True) -> str:
        """What stands between the brackets of a `def`, after the parameter `first`, where there is one."""
        parts = [first] if first else []
        kinds = [each.kind for each in self.parameters]
        for index, each in enumerate(self.parameters):
            if each.kind == "k" and "*" not in kinds and "k" not in kinds[:index]:
                parts.append("*")
            parts.append(str(each if annotations else Parameter(each.name, each.kind, each.default)))
            if each.kind == "/" and kinds[index + 1 : index + 2] != ["/"]:
                parts.append("/")
        return ", ".join(parts)

    @property
    def names(self) -> list[str]:
        """The names of all parameters."""
        return [each.name for each in self.parameters]

    def of(self, *kinds: str) -> list[Parameter]:
        """The parameters of some kinds."""
        return [each for each in self.parameters if each.kind in kinds]


@dataclass(frozen=True)
class Arguments:
    """What a call is given."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@st.composite
def signatures(draw: st.DrawFn, most: int = 5, reserved: tuple[str, ...] = ()) -> Signature:
    """Signatures that Python compiles; none of the `reserved` names is a parameter."""
    free = [name for name in NAMES if name not in reserved]
    names = draw(st.lists(st.sampled_from(free), unique=True, max_size=most))
    order = {"/": 0, "": 1, "*": 2, "k": 3, "**": 4}
    kinds = sorted((draw(st.sampled_from(list(order))) for _ in names), key=order.__getitem__)
    found: list[Parameter] = []
    for name, kind in zip(names, kinds, strict=True):
        if kind in ("*", "**") and any(each.kind == kind for each in found):
            continue
        needed = kind in ("/", "") and any(each.default for each in found if each.kind in ("/", ""))
        default = draw(st.sampled_from(DEFAULTS if needed else ("", *DEFAULTS))) if kind not in ("*", "**") else ""
        found.append(Parameter(name, kind, default, draw(st.sampled_from(("", "", *ANNOTATIONS)))))
    return Signature(tuple(found))


@st.composite
def arguments(draw: st.DrawFn, signature: Signature) -> Arguments:
    """Calls of which many fit the signature and many nearly do."""
    positional = signature.of("/", "")
    count = draw(st.integers(0, len(positional)))
    args = [draw(VALUES) for _ in range(count)]
    if count == len(positional) and signature.of("*"):
        args += draw(st.lists(VALUES, max_size=2))
    named = [each for each in [*positional[count:], *signature.of("k")] if not each.default or draw(st.booleans())]
    kwargs = {each.name: draw(VALUES) for each in named}
    if signature.of("**"):
        kwargs |= draw(st.dictionaries(_keywords(signature), VALUES, max_size=2))
    return draw(st.sampled_from((_as_it_is, _as_it_is, _one_more, _one_less)))(draw, signature, args, kwargs)


def _keywords(signature: Signature) -> st.SearchStrategy[str]:
    """Keywords that `**` may take; names of parameters that are positional only are among them."""
    taken = {each.name for each in signature.of("", "k")}
    others = [each.name for each in signature.of("/", "*", "**")]
    return st.sampled_from([name for name in (*others, "self", "not a name", *keyword.kwlist[:2]) if name not in taken])


def _as_it_is(draw: st.DrawFn, signature: Signature, args: list[Any], kwargs: dict[str, Any]) -> Arguments:
    return Arguments(tuple(args), kwargs)


def _one_more(draw: st.DrawFn, signature: Signature, args: list[Any], kwargs: dict[str, Any]) -> Arguments:
    if draw(st.booleans()):
        return Arguments((*args, draw(VALUES)), kwargs)
    return Arguments(tuple(args), {**kwargs, draw(st.sampled_from([*signature.names, "self", "surplus"])): 1})


def _one_less(draw: st.DrawFn, signature: Signature, args: list[Any], kwargs: dict[str, Any]) -> Arguments:
    if args and draw(st.booleans()):
        return Arguments(tuple(args[:-1]), kwargs)
    return Arguments(tuple(args), dict(list(kwargs.items())[:-1]))
