"""The heart of the neutral encoding: a value as a tree of JSON, with raw buffers beside it.

    a scalar       itself: null, true, an integer of 64 bits, a finite number, a text without lone surrogates
    all else       [tag, …]; a tag belongs to a `Kind`, which says what follows it
    met before     ["=", n]: the n-th thing that was complete; so what was one thing stays one

A kind makes what it stands for and nothing else: no name in a payload is ever called.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from worker_runtime.wire.class_names import ClassNames, UnknownClass
from worker_runtime.wire.errors import CannotTravel, WireError

Node: TypeAlias = Any
"""What JSON can hold."""

Buffer: TypeAlias = bytes | bytearray | memoryview

DEPTH = 200
"""How deep values may be nested."""

SAME = "="
_WORD = 2**63


@dataclass(frozen=True, slots=True)
class Kind:
    """What is encoded in one way.

    Attributes:
        tag: its name in payloads.
        encode: gives what follows the tag.
        decode: makes the value of that; raises whatever fits where it cannot, which becomes a WireError.
    """

    tag: str
    encode: "Callable[[Encoder, Any], list[Node]]"
    decode: "Callable[[Decoder, list[Node]], Any]"


KindOf = Callable[[Any], Kind | None]
"""Gives the kind of a value, None where it has none."""


class Key:
    """A step into a dictionary; its text is made when an error needs it."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __str__(self) -> str:
        return f"[{self.key!r:.40}]"


class Encoder:
    """Encodes one value.

    Attributes:
        buffers: the raw buffers, in the order of their numbers.
        modules: the modules of the classes that were named.
    """

    def __init__(self, kind_of: KindOf, names: ClassNames) -> None:
        self.buffers: list[Buffer] = []
        self.modules: set[str] = set()
        self._kind_of, self._names = kind_of, names
        self._steps: list[object] = []
        self._done: dict[int, int] = {}
        self._classes: dict[type, int] = {}
        self._open: set[int] = set()
        self._kept: list[Any] = []  # so that no id is given twice

    def node(self, value: Any, step: object = "") -> Node:
        """Encode a part of the value; `step` is the way to it: an index, a `Key`, or a text such as ".foo".

        Raises:
            CannotTravel: it has no encoding.
        """
        if is_scalar(value):
            return value
        ident = id(value)
        if ident in self._done:
            return [SAME, self._done[ident]]
        self._steps.append(step)
        if ident in self._open:
            raise self.refusal("contains itself, which only a pickle could carry")
        if len(self._steps) > DEPTH:
            raise self.refusal(f"is nested more than {DEPTH} levels deep")
        kind = self._kind_of(value)
        if kind is None:
            raise self.refusal(described(value))
        self._open.add(ident)
        encoded = [kind.tag, *kind.encode(self, value)]
        self._open.discard(ident)
        self._complete(value)
        self._steps.pop()
        return encoded

    def nodes(self, values: Iterable[Any]) -> list[Node]:
        """Encode the items of a sequence."""
        return [value if is_scalar(value) else self.node(value, index) for index, value in enumerate(values)]

    def members(self, values: dict[str, Any]) -> list[Node]:
        """Encode the attributes of an object: names and values in turn."""
        encoded: list[Node] = []
        for name, value in values.items():
            encoded += (name, self.node(value, f".{name}"))
        return encoded

    def buffer(self, data: Buffer) -> int:
        """Put bytes beside the tree, uncopied; the number under which they are found."""
        self.buffers.append(data)
        return len(self.buffers) - 1

    def class_node(self, kind: type) -> Node:
        """A class: its name where it is met first, its number afterwards. It is no value by itself."""
        if kind in self._classes:
            return self._classes[kind]
        try:
            module, qualified = self._names.name(kind)
        except UnknownClass as error:
            raise self.refusal(f"cannot be named on the other side: {error}") from None
        self.modules.add(module)
        self._classes[kind] = len(self._classes)
        return [module, qualified]

    def refusal(self, what: str) -> CannotTravel:
        """The error for the part that is being encoded; `what`: "is a socket.socket"."""
        steps = (f"[{step}]" if isinstance(step, int) else str(step) for step in self._steps)
        return CannotTravel(tuple(step for step in steps if step), what)

    def _complete(self, value: Any) -> None:
        self._done[id(value)] = len(self._kept)
        self._kept.append(value)


class Decoder:
    """Decodes one value."""

    def __init__(self, kinds: dict[str, Kind], names: ClassNames, buffers: Sequence[memoryview]) -> None:
        self._kinds, self._names, self._buffers = kinds, names, buffers
        self._done: list[Any] = []
        self._classes: list[type] = []

    def value(self, node: Node) -> Any:
        """Make a value of its node. Raises WireError, UnknownClass, and what a kind raises."""
        if not isinstance(node, list):
            return _scalar(node)
        tag = node[0]
        if tag == SAME:
            (number,) = node[1:]
            return self._done[natural(number)]
        made = self._kinds[tag].decode(self, node[1:])
        self._done.append(made)
        return made

    def values(self, nodes: list[Node]) -> list[Any]:
        """Make the values of a sequence."""
        return [self.value(node) if isinstance(node, list) else _scalar(node) for node in nodes]

    def members(self, nodes: list[Node]) -> dict[str, Any]:
        """Make the attributes of an object; their names are texts."""
        found = dict(zip(nodes[::2], self.values(nodes[1::2]), strict=True))
        if not all(isinstance(name, str) for name in found):
            raise WireError("an attribute's name is no text")
        return found

    def buffer(self, number: Node) -> memoryview:
        """The bytes beside the tree with this number."""
        return self._buffers[natural(number)]

    def class_of(self, node: Node, base: type) -> Any:
        """The class that a node names, which must be derived from `base`. Raises WireError, UnknownClass."""
        if isinstance(node, list):
            module, qualified = node
            self._classes.append(self._names.find(text(module), text(qualified)))
            node = len(self._classes) - 1
        found = self._classes[natural(node)]
        if not issubclass(found, base):
            raise WireError(f"class {found.__qualname__} is none of kind {base.__name__}")
        return found


def _scalar(node: Node) -> Any:
    if isinstance(node, dict):
        raise WireError("there are no JSON objects in the tree of a value")
    return node


def is_scalar(value: Any) -> bool:
    """Whether JSON holds exactly this value."""
    kind = type(value)
    if kind is str:
        return value.isascii() or _is_unicode(value)
    if kind is int:
        return bool(-_WORD <= value < _WORD)
    if kind is float:
        return math.isfinite(value)
    return kind is bool or value is None


def described(value: Any) -> str:
    """What a value is that has no encoding: "is a socket.socket"."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    own = getattr(value, "__qualname__", None)
    shown = f" ({own:.60})" if isinstance(own, str) else ""
    return f"is {'an' if name[0].lower() in 'aeiou' else 'a'} {name}{shown}"


def natural(node: Node) -> int:
    """A node that is a number of 0 or more. Raises WireError."""
    if type(node) is not int or node < 0:
        raise WireError(f"{node!r:.80} is no number of 0 or more")
    return node


def text(node: Node) -> str:
    """A node that is a text. Raises WireError."""
    if not isinstance(node, str):
        raise WireError(f"{node!r:.80} is no text")
    return node


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # lone surrogates, two of which JSON would take for one sign
        return False
    return True
