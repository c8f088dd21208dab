"""The project of a program."""

import subprocess
import sys
from pathlib import Path

import pytest

from runpod_flash.errors import ConfigError
from runpod_flash.project import app_of, find_project


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "app" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "app" / "pyproject.toml").touch()
    (tmp_path / "loose").mkdir()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    return tmp_path


def test_the_nearest_folder_with_a_project_file(tree: Path) -> None:
    script = str(tree / "app" / "deep" / "er" / "run.py")
    assert find_project(script, tree, ()) == tree / "app"
    (tree / "app" / "deep" / "requirements.txt").touch()
    assert find_project(script, tree, ()) == tree / "app" / "deep"


def test_else_the_scripts_own_folder(tree: Path) -> None:
    assert find_project(str(tree / "loose" / "run.py"), tree / "app", ()) == tree / "loose"


def test_without_a_script_the_current_directory(tree: Path) -> None:
    assert find_project(None, tree / "app" / "deep", ()) == tree / "app"
    assert find_project(str(tree / "gone" / "x.py"), tree / "loose", ()) == tree / "loose"


def test_an_installed_command_works_for_the_current_directory(tree: Path) -> None:
    script = str(tree / "venv" / "bin" / "tool")
    assert find_project(script, tree / "app", (tree / "venv" / "bin",)) == tree / "app"


@pytest.mark.parametrize("way", ["script", "-c"])
def test_of_a_real_program(tree: Path, way: str) -> None:
    code = "from runpod_flash.project import project_of_program as p; print(p())"
    (tree / "app" / "deep" / "run.py").write_text(code)
    command = [str(tree / "app" / "deep" / "run.py")] if way == "script" else ["-c", code]
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, *command], cwd=tree / "app", env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tree / "app")


def test_the_app_has_the_name_that_the_project_says_or_that_of_its_folder(tree: Path) -> None:
    file = tree / "app" / "pyproject.toml"
    assert app_of(tree / "app") == "app"
    assert app_of(tree / "loose") == "loose"
    file.write_text('[tool.flash]\napp = "shop"\n')
    assert app_of(tree / "app") == "shop"
    for text in ("tool = 1\n", "[tool]\nflash = 1\n", '[tool.other]\napp = "x"\n'):
        file.write_text(text)
        assert app_of(tree / "app") == "app"
    odd = tree / "my: app!"
    odd.mkdir()
    assert app_of(odd) == "my-app"
    assert app_of(Path("/")) == "app"


@pytest.mark.parametrize("text", ["[tool.flash\n", "[tool.flash]\napp = 1\n"])
def test_a_project_file_that_says_no_name_is_refused(tree: Path, text: str) -> None:
    (tree / "app" / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"pyproject\.toml"):
        app_of(tree / "app")
