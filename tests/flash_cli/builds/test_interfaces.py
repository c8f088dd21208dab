"""Signatures and annotations become what plain JSON is checked against."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from flash_cli.builds.interfaces import interface_of
from runpod_flash import options
from runpod_flash.spec import EndpointSpec
from worker_runtime.wire.interface import FUNCTION, Interface, Parameter

SPEC = options.check({"name": "x"})


class Size(BaseModel):
    width: int


@dataclass
class Point:
    x: float


class NoSchema:
    pass


def of(target: Any, spec: EndpointSpec = SPEC) -> dict[str, tuple[Parameter, ...]]:
    return dict(interface_of(target, spec).calls)


def test_kinds_and_defaults() -> None:
    def function(a: int, /, b: str, *rest: int, c: bool = True, **more: float) -> None: ...

    assert of(function) == {
        FUNCTION: (
            Parameter("a", "positional", True, {"type": "integer"}),
            Parameter("b", "either", True, {"type": "string"}),
            Parameter("c", "named", False, {"type": "boolean"}),
            Parameter("more", "rest", False, {"type": "number"}),
        )
    }


def test_types_without_json_say_nothing() -> None:
    def function(a, b: Any, c: NoSchema, d: "Unknown"): ...  # type: ignore[no-untyped-def]  # noqa: F821

    assert [each.schema for each in of(function)[FUNCTION]] == [{}, {}, {}, {}]


def test_an_annotation_that_names_nothing_leaves_the_others() -> None:
    def function(a: "Unknown", b: "int", c: "list[str] | None" = None) -> "Unknown": ...  # type: ignore[name-defined]  # noqa: F821

    a, b, c = of(function)[FUNCTION]
    assert (a.schema, b.schema) == ({}, {"type": "integer"})
    assert c.schema["anyOf"][1] == {"type": "null"}


def test_decorated_methods_and_the_only_method_that_closes() -> None:
    class Closing:
        def close(self, now: bool) -> None: ...

    class Called:
        def __call__(self, x: int) -> None: ...

    assert of(Closing) == {"close": (Parameter("now", schema={"type": "boolean"}),)}
    assert of(Called) == {"__call__": (Parameter("x", schema={"type": "integer"}),)}


def test_models_and_dataclasses_have_schemas() -> None:
    def function(size: Size, at: "Point | None" = None) -> None:
        """Draw."""

    size, at = of(function)[FUNCTION]
    assert size.schema["properties"]["width"] == {"title": "Width", "type": "integer"}
    assert {"type": "null"} in at.schema["anyOf"]
    assert interface_of(function, SPEC).docs == {FUNCTION: "Draw."}


class Base:
    def inherited(self, x: int) -> int:
        """From above."""
        return x


class Model(Base):
    LIMIT = 3

    def predict(self, text: str) -> str:
        return text

    @staticmethod
    def plain(n: int) -> int:
        return n

    @classmethod
    def named(cls) -> str:
        return cls.__name__

    @property
    def size(self) -> int:
        return 1

    def close(self) -> None: ...
    def _hidden(self) -> None: ...


def test_public_methods_are_the_calls_of_a_class() -> None:
    calls = of(Model)
    assert set(calls) == {"inherited", "predict", "plain", "named"}
    assert calls["predict"] == (Parameter("text", schema={"type": "string"}),)
    assert calls["plain"] == (Parameter("n", schema={"type": "integer"}),)
    assert calls["named"] == ()
    assert interface_of(Model, SPEC).docs == {"inherited": "From above."}


def test_what_a_batched_function_is_called_with_is_one_value() -> None:
    def function(texts: list[str], odd: Any) -> list[int]: ...

    spec = options.check({"name": "x", "batch": (4, 10)})
    assert of(function, spec)[FUNCTION] == (Parameter("texts", schema={"type": "string"}), Parameter("odd"))


def test_it_crosses_as_json() -> None:
    found = interface_of(Model, SPEC)
    assert Interface.from_json(found.to_json()) == found
