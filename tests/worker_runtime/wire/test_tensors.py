"""torch's tensors come back from pickles as they were; see `array_checks.py`."""

from collections.abc import Callable

import pytest


@pytest.mark.slow  # torch takes its time
def test_tensors_come_back_with_their_form_and_are_carried_once(array_checks: Callable[[str], None]) -> None:
    array_checks("torch-pickles")
