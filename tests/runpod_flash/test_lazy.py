"""Late loading by name."""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
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


def test_a_module_that_another_thread_imports_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lazy, "flash_test_events", (began, go_on), raising=False)
    lines = ("from runpod_flash.lazy import flash_test_events", "flash_test_events[0].set()")
    more = ("assert flash_test_events[1].wait(20)", "whole = True")
    (tmp_path / "flash_slow_module.py").write_text("\n".join((*lines, *more)))
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(lazy.load, "flash_slow_module")
        assert began.wait(20)
        second = threads.submit(lambda: lazy.load("flash_slow_module").whole)
        assert not wait([second], 0.05).done
        go_on.set()
        assert second.result(20)
        assert first.result(20).whole
