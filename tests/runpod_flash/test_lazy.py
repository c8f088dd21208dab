"""Late loading by name."""

import json

import pytest

from runpod_flash import lazy


def test_a_module_is_loaded_by_its_full_name() -> None:
    assert lazy.load("json") is json
    with pytest.raises(ModuleNotFoundError):
        lazy.load("no_such_module_of_ours")
