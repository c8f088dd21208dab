"""pandas' frames come back; see `array_checks.py`."""

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.slow


def test_frames_series_indexes_and_moments_come_back(array_checks: Callable[[str], None]) -> None:
    array_checks("pandas")
