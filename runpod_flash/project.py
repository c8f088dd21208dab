"""Which project a program belongs to: names of endpoints are unique within it."""

import sys
import sysconfig
from pathlib import Path

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
