"""PIL's images come back; see `array_checks.py`."""

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.slow


def test_images_of_all_common_modes_come_back(array_checks: Callable[[str], None]) -> None:
    array_checks("pillow")
