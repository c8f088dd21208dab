"""numpy's arrays and torch's tensors come back; see `array_checks.py`."""

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("package", ["numpy", "torch"])
def test_arrays_come_back_and_hostile_ones_are_not_made(package: str, array_checks: Callable[[str], None]) -> None:
    array_checks(package)
