"""What plain JSON a deployed function takes, as data."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.interface import KINDS, Interface, Parameter

PARAMETERS = st.builds(
    Parameter, st.text(min_size=1), st.sampled_from(KINDS), st.booleans(), st.just({"type": "string"})
)
INTERFACES = st.builds(
    Interface, st.dictionaries(st.text(), st.lists(PARAMETERS).map(tuple)), st.dictionaries(st.text(), st.text())
)


@given(INTERFACES)
def test_it_comes_back_as_it_was(interface: Interface) -> None:
    assert Interface.from_json(json.loads(json.dumps(interface.to_json()))) == interface


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"calls": []},
        {"calls": {"": None}},
        {"calls": {"": [1]}},
        {"calls": {"": [{"name": "a", "kind": "odd", "required": True}]}},
        {"calls": {"": [{"name": "a", "kind": "either", "required": 1}]}},
    ],
)
def test_what_is_none_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(WireError):
        Interface.from_json(data)
