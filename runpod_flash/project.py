"""Which project a program belongs to: names of endpoints are unique within it; and the name of the app it makes."""

import sys
import sysconfig
import tomllib
from pathlib import Path

from runpod_flash.errors import ConfigError
from runpod_flash.scopes import usable_name

_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", ".git", "requirements.txt")
_INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")


def project_of_program() -> Path:
    """The project of the running program."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return find_project(script, Path.cwd(), tuple(Path(sysconfig.get_path(name)) for name in _INSTALLED))


def find_project(script: str | None, cwd: Path, installed: tuple[Path, ...]) -> Path:
    """The project that a program belongs to: names of endpoints are unique within it.

    The nearest folder at or above the script's that has a project file, else the script's own folder. Where there is no
    script (REPL, notebook, `python -c`) or it lies in one of the `installed` folders (a console script, `python -m
    tool`), the current directory takes the script's place.
    """
    start = cwd.resolve()
    if script:
        place = Path(script).resolve().parent
        if not any(place.is_relative_to(folder.resolve()) for folder in installed) and place.is_dir():
            start = place
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in _MARKS):
            return folder
    return start


def app_of(project: Path) -> str:
    """The name of the app that a project is deployed as, where nobody says another: `app` of [tool.flash], or its own.

    Raises:
        ConfigError: its pyproject.toml cannot be read, or says a name that is no text.
    """
    file = project / "pyproject.toml"
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}; mend it, or name the app") from error
    tool = data.get("tool", {})
    flash = tool.get("flash", {}) if isinstance(tool, dict) else {}
    named = flash.get("app") if isinstance(flash, dict) else None
    if named is not None and not isinstance(named, str):
        raise ConfigError(f"app of [tool.flash] in {file} is {named!r:.80}; it must be a text")
    return named or usable_name(project.resolve().name) or "app"
