"""`flash init`: a new project that runs at once."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from flash_cli import console, placing, templating
from runpod_flash.errors import ConfigError
from runpod_flash.scopes import check_name, usable_name

HERE = "."
_FALLBACK = "app"


def init(where: str, *, force: bool) -> None:
    """Write a project into a folder: HERE, or one that is made where there is none. Its name becomes the app's.

    Files that are there already are replaced with `force`, or after a person was asked; else nothing is written.

    Raises:
        ConfigError: no app can be called so, files are in the way, or the folder cannot be written to.
    """
    folder = Path(where).expanduser().absolute()
    app = _app_of_here(folder) if where == HERE else _app_of(folder.name if where else where)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; choose another name, or move it away")
    files = templating.rendered(app)
    taken = placing.conflicts(folder, files)
    if taken and not force and not _may_replace(folder, taken):
        console.say("nothing was written")
        return
    placing.place(folder, files)
    _say_what_next(where, app)


def _app_of(name: str) -> str:
    """The name, if an app can be called so."""
    try:
        return check_name("name", name)
    except ConfigError:
        near = usable_name(name)
        raise ConfigError(
            f"no project can be called {name!r:.80}: a name is 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', and begins "
            f"with a letter or digit{f'; did you mean {near}?' if near else ''}"
        ) from None


def _app_of_here(folder: Path) -> str:
    """The folder has its name already, so the nearest good one is taken."""
    app = usable_name(folder.name) or _FALLBACK
    if app != folder.name:
        console.note(f"note: the app is called {app}, since none can be called {folder.name!r:.80}")
    return app


def _may_replace(folder: Path, taken: Sequence[str]) -> bool:
    """Ask the person in the terminal. Raises ConfigError where there is none."""
    listed = ", ".join(taken)
    if not sys.stdin.isatty():
        raise ConfigError(f"{folder} has files of these names: {listed}; nothing was written, --force replaces them")
    console.note(f"{folder} has files of these names: {listed}")
    return typer.confirm("Replace them?", default=False)


def _say_what_next(where: str, app: str) -> None:
    go = {} if where == HERE else {f"cd {shlex.quote(where)}": ""}
    steps = {
        "python main.py": "run it on this machine",
        "flash dev": "try it over HTTP, edit it",
        "flash deploy": "deploy it",
    }
    console.say(f"project {app} is made" + ("" if where == HERE else f" in {where}"))
    _say_list(templating.ABOUT)
    console.say("next:")
    _say_list(go | steps)


def _say_list(lines: Mapping[str, str]) -> None:
    width = max(map(len, lines))
    for name, about in lines.items():
        console.say(f"  {name.ljust(width)}  {about}".rstrip())
