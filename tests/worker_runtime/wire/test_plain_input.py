"""Plain JSON is bound to the parameters of a call, or refused with words."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire.interface import FUNCTION, Interface, Parameter
from worker_runtime.wire.plain_input import EMPTY, Bound, Misfit, bind, fits

SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, -0.5, 1e300]) | st.sampled_from("ab")
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner)
)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(SCALARS, min_size=1, max_size=3),
        "const": SCALARS,
    },
)
SCHEMAS = st.recursive(
    PARTS,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES,
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "allOf": st.lists(inner, min_size=1),
        },
    ),
    max_leaves=5,
)


def function(*parameters: Parameter) -> Interface:
    return Interface({FUNCTION: parameters})


def of(name: str, schema: dict[str, Any] | None = None, *, required: bool = True, kind: str = "either") -> Parameter:
    return Parameter(name, kind, required, schema or {})


PAINT = function(
    of("prompt", {"type": "string"}),
    of("steps", {"type": "integer"}, required=False),
    of("guide_scale", {"anyOf": [{"type": "number"}, {"type": "null"}]}, required=False),
)
MODEL = Interface({"paint": PAINT.calls[FUNCTION], "upscale": (of("image"), of("method", required=False))})


def faults(interface: Interface, given: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(Misfit) as caught:
        bind(interface, given)
    assert str(caught.value) == "; ".join(caught.value.faults)
    return caught.value.faults


@given(SCHEMAS, VALUES)
def test_what_fits_is_what_json_schema_says(schema: dict[str, Any], value: Any) -> None:
    assert fits(schema, value) == jsonschema.Draft202012Validator(schema).is_valid(value)


@given(st.dictionaries(st.sampled_from(["prompt", "steps", "method", "x", EMPTY]), VALUES))
def test_any_input_is_bound_or_refused(given: dict[str, Any]) -> None:
    for interface in (PAINT, MODEL, function(of("kwargs", kind="rest"))):
        before = dict(given)
        try:
            bound = bind(interface, given)
        except Misfit:
            faults(interface, given)
        else:
            assert bound.arguments.items() <= given.items()
        assert given == before


def test_keys_are_parameters_and_what_is_left_out_has_its_default() -> None:
    assert bind(PAINT, {"prompt": "a"}) == Bound(None, {"prompt": "a"})
    assert bind(PAINT, {"prompt": "a", "guide_scale": None, "steps": 3}).arguments["steps"] == 3


@pytest.mark.parametrize("nothing", [{}, {EMPTY: True}])
def test_nothing_is_no_arguments(nothing: dict[str, Any]) -> None:
    assert bind(function(), nothing) == Bound(None, {})
    assert bind(function(of("more", kind="rest")), nothing) == Bound(None, {})


def test_all_that_is_wrong_is_said_at_once() -> None:
    takes = "the function takes 'guide_scale', 'prompt' and 'steps'"
    assert faults(PAINT, {"promt": 1, "steps": 1.5, "guide_scale": "x"}) == (
        f"field 'input.promt' is unknown; {takes}; did you mean 'prompt'?",
        "field 'input.prompt' is missing; it must be a text",
        "field 'input.steps' is 1.5; it must be an integer",
        "field 'input.guide_scale' is \"x\"; it must be a number or null",
    )
    assert faults(function(), {"a": 1}) == ("field 'input.a' is unknown; the function takes nothing",)
    assert faults(function(of("a")), {}) == ("field 'input.a' is missing",)


@pytest.mark.parametrize(
    ("schema", "value", "allowed"),
    [
        ({"type": "boolean"}, 1, "true or false"),
        ({"type": ["array", "null"]}, {}, "a list or null"),
        ({"enum": ["low", 2, None]}, True, '"low", 2 or null'),
        ({"const": "x"}, "y" * 100, '"x"'),
        ({"allOf": [{"type": "string"}]}, 1, "something else"),
        ({"type": "integer"}, float("nan"), "an integer"),
    ],
)
def test_what_is_allowed_is_named(schema: dict[str, Any], value: Any, allowed: str) -> None:
    (fault,) = faults(function(of("a", schema)), {"a": value})
    assert fault.endswith(f"; it must be {allowed}")
    assert len(fault) < 160


def test_a_whole_number_is_an_integer_where_one_is_wanted() -> None:
    whole = function(of("a", {"type": "integer"}), of("b", {"anyOf": [{"type": "integer"}, {"type": "number"}]}))
    bound = bind(whole, {"a": 3.0, "b": 3.0}).arguments
    assert [type(bound[name]) for name in "ab"] == [int, float]


def test_what_no_schema_describes_takes_anything() -> None:
    assert bind(function(of("a", {"$ref": "#/x"})), {"a": object}).arguments == {"a": object}
    assert bind(function(of("a"), of("more", kind="rest")), {"a": 1, "b": 2}).arguments == {"a": 1, "b": 2}


def test_a_class_with_several_methods_is_told_which() -> None:
    assert bind(MODEL, {"method": "paint", "prompt": "a"}) == Bound("paint", {"prompt": "a"})
    assert bind(MODEL, {"method": "upscale", "image": 1}) == Bound("upscale", {"method": "upscale", "image": 1})
    assert faults(MODEL, {"prompt": "a"}) == (
        "field 'input.method' is missing; it says which method is called and must be 'paint' or 'upscale'",
    )
    assert faults(MODEL, {"method": "up_scale"}) == (
        "field 'input.method' is \"up_scale\"; it must be 'paint' or 'upscale'; did you mean 'upscale'?",
    )
    assert "method 'paint' takes" in faults(MODEL, {"method": "paint", "prompt": "a", "image": 1})[0]
    assert "no public method" in faults(Interface({}), {})[0]


def test_a_class_with_one_method_needs_not_be_told_but_may() -> None:
    one = Interface({"paint": PAINT.calls[FUNCTION]})
    assert (
        bind(one, {"prompt": "a"}) == bind(one, {"method": "paint", "prompt": "a"}) == Bound("paint", {"prompt": "a"})
    )
    assert "'input.method' is unknown" in faults(one, {"method": "other", "prompt": "a"})[0]
