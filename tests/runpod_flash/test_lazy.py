"""Late loading by name."""

import json
import sys
from pathlib import Path

import pytest

from runpod_flash import lazy


def test_a_module_is_loaded_by_its_full_name() -> None:
    assert lazy.load("json") is json
    with pytest.raises(ModuleNotFoundError):
        lazy.load("no_such_module_of_ours")


def test_a_module_may_be_loaded_without_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "flash_heavy_part.py").touch()
    for name in ("flash_without", "flash_with"):
        (tmp_path / f"{name}.py").write_text(
            "try: import flash_heavy_part\nexcept ImportError: flash_heavy_part = None\n"
        )
    assert lazy.load("flash_without", without="flash_heavy_part").flash_heavy_part is None
    heavy = lazy.load("flash_heavy_part")  # as ever
    assert lazy.load("flash_with", without="flash_heavy_part").flash_heavy_part is heavy  # it was there already
    with pytest.raises(ModuleNotFoundError):
        lazy.load("flash_nothing", without="flash_other_part")
    assert "flash_other_part" not in sys.modules
