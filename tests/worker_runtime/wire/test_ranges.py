"""Names of ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.ranges import Range

NUMBERS = st.integers(0, 2**64 - 1)
SIZES = st.integers(0, 2**62)


@given(st.builds(Range, NUMBERS, NUMBERS, SIZES, SIZES))
def test_names_come_back(found: Range) -> None:
    assert Range.parse(found.name) == found
    assert len(found.name) == 64


@pytest.mark.parametrize("name", ["", "x" * 64, "A" * 64, "f" * 63, "f" * 64, "0" * 64 + "\n"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(WireError, match="range"):
        Range.parse(name)
