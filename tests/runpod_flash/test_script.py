"""The running script: its file, its name on workers, and what of it they find."""

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from runpod_flash import script
from worker_runtime.wire.class_names import SCRIPT

TEXT = """
import functools
def outer():
    def inner(): ...
    return inner
class Model:
    class Part: ...
assigned = (lambda: 1)
if sys.platform:
    def conditional(): ...
else:
    def otherwise(): ...
try:
    import json
except ImportError:
    def fallback(): ...
with open(__file__):
    async def inside(): ...
if __name__ == "__main__":
    def guarded(): ...
    alias = 1
else:
    def imported_only(): ...
if "__main__" == __name__:
    class AlsoGuarded: ...
"""

Play = Callable[..., types.ModuleType]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Makes a text the running script; returns its module, in which the text ran."""

    def play(text: str = TEXT, file: str | None = "script.py") -> types.ModuleType:
        module = types.ModuleType("__main__")
        module.__dict__["sys"] = sys
        place = "<stdin>"
        if file is not None:
            module.__file__ = place = str(tmp_path / file)
            (tmp_path / file).write_text(text)
        exec(compile(text, place, "exec"), module.__dict__)
        monkeypatch.setitem(sys.modules, "__main__", module)
        return module

    return play


def test_a_script_has_one_name_on_workers(play: Play, tmp_path: Path) -> None:
    play()
    assert script.file_of() == str(tmp_path / "script.py")
    assert script.name() == SCRIPT


def test_a_program_that_is_a_module_keeps_its_name(play: Play) -> None:
    play().__spec__ = types.SimpleNamespace(name="package.part")  # type: ignore[assignment]
    assert script.name() == "package.part"


def test_the_module_that_a_script_is_in_a_folder(play: Play, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "a-b").mkdir()
    for file, below in (("script.py", "script"), ("part/script.py", "part.script"), ("a-b/script.py", None)):
        play("x = 1", file=file)
        assert script.module_in(tmp_path) == below
    assert script.module_in(tmp_path / "part") is None
    play("x = 1", file=None)
    assert script.module_in(tmp_path) is None


@pytest.mark.parametrize("file", [None, "<stdin>", "app.zip/__main__.py"])
def test_without_a_file_there_is_no_name(play: Play, file: str | None) -> None:
    play("x = 1", file=None).__file__ = file
    assert script.file_of() is None
    assert script.name() is None
    assert not script.defines(test_without_a_file_there_is_no_name)  # type: ignore[arg-type]


def test_a_function_that_was_typed_beside_the_script_is_not_the_scripts(play: Play) -> None:
    module = play()
    exec(compile("def typed(): ...", "<stdin>", "exec"), module.__dict__)
    assert script.defines(module.outer)
    assert script.defines(module.Model)
    assert not script.defines(module.typed)


def test_what_stands_outside_of_the_guard(play: Play) -> None:
    play()
    names = (
        "outer", "Model", "Model.Part", "assigned", "conditional", "otherwise", "fallback", "inside", "imported_only",
    )  # fmt: skip
    assert all(script.outside_of_guard(name) for name in names)
    assert not any(script.outside_of_guard(name) for name in ("guarded", "alias", "AlsoGuarded", "nothing", "inner"))


def test_a_source_that_cannot_be_read_is_left_to_its_import(play: Play, tmp_path: Path) -> None:
    play()
    (tmp_path / "script.py").write_text("def (")
    assert script.outside_of_guard("anything")


def test_finds_by_qualified_name(play: Play) -> None:
    module = play()
    assert script.find("__main__", "Model.Part") is module.Model.Part
    assert script.find("__main__", "Model.nothing") is None
    assert script.find("nowhere", "x") is None
