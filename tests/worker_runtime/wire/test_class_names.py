"""Classes are found by name, and nothing runs, nor is imported, that may not be."""

import json.decoder
import re
import sys
import types
from pathlib import Path

import pytest

from tests.worker_runtime.wire.shapes import Frozen, Point
from worker_runtime.wire.class_names import SCRIPT, ClassNames, UnknownClass, any_module, standard_module

NAMES = ClassNames()


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A script that defines a class."""
    module = types.ModuleType("__main__")
    module.Own = type("Own", (), {"__module__": "__main__"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def test_a_class_goes_by_its_module_and_qualified_name() -> None:
    assert NAMES.name(Frozen.Inner) == (Frozen.__module__, "Frozen.Inner")
    assert NAMES.find(Frozen.__module__, "Frozen.Inner") is Frozen.Inner


def test_a_class_of_the_script_goes_by_the_name_that_the_script_has_on_workers(main: types.ModuleType) -> None:
    names = ClassNames(script=SCRIPT)
    assert names.name(main.Own) == (SCRIPT, "Own")
    assert names.find(SCRIPT, "Own") is main.Own


def test_a_class_of_a_prompt_has_no_name_elsewhere(main: types.ModuleType) -> None:
    with pytest.raises(UnknownClass, match="class Own is defined in no file"):
        NAMES.name(main.Own)


def test_a_class_inside_a_function_has_no_name() -> None:
    class Local: ...

    with pytest.raises(UnknownClass, match="Local is defined inside a function; define it at the top of a file"):
        NAMES.name(Local)


def test_a_class_that_hides_behind_its_decorator_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Decorated:
        __flash_target__ = Point

    monkeypatch.setattr(sys.modules[Point.__module__], "Point", Decorated())
    assert Decorated().__dict__ == {}
    decorated = Decorated()
    decorated.__dict__["__flash_target__"] = Point
    monkeypatch.setattr(sys.modules[Point.__module__], "Point", decorated)
    assert NAMES.find(Point.__module__, "Point") is Point


@pytest.mark.parametrize("name", ["nothing", "sys", "Point.__init__", "Point.nothing.more", ""])
def test_what_is_no_class_is_not_found(name: str) -> None:
    with pytest.raises(UnknownClass, match="has no class"):
        NAMES.find(Point.__module__, name)


def test_a_module_is_never_asked_for_what_it_makes_at_need(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("lazy_one")
    module.__getattr__ = lambda name: pytest.fail("it was asked")  # type: ignore[method-assign, assignment]
    monkeypatch.setitem(sys.modules, "lazy_one", module)
    with pytest.raises(UnknownClass):
        NAMES.find("lazy_one", "Thing")


@pytest.mark.parametrize("module", ["antigravity", "this", "json.__main__", "__main__.x", "nowhere", "pip"])
def test_a_module_that_may_not_be_imported_is_not(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(UnknownClass, match=r"is not loaded here; import it before the value is read"):
        NAMES.find(module, "Thing")
    assert module not in sys.modules


def test_a_worker_imports_what_the_caller_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shapes_of_theirs.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = ClassNames(any_module).find("shapes_of_theirs", "Thing")
    assert found.__qualname__ == "Thing"
    with pytest.raises(UnknownClass, match="module 'nowhere' cannot be imported here: No module named 'nowhere'"):
        ClassNames(any_module).find("nowhere", "Thing")
    monkeypatch.delitem(sys.modules, "shapes_of_theirs")


def test_the_standard_library_may_be_imported_but_for_its_jokes() -> None:
    assert standard_module("json.decoder")
    assert not standard_module("this")
    assert not standard_module("json.__main__")
    assert not standard_module("numpy")
    assert NAMES.find("json.decoder", "JSONDecodeError") is json.decoder.JSONDecodeError


def test_a_class_that_got_another_name_is_called_by_the_older_one() -> None:
    assert NAMES.name(re.error) == ("re", "error")
    assert NAMES.find("re", "error") is re.error
