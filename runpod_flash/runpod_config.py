"""The key for Runpod's cloud in ~/.runpod/config.toml, which Runpod's own tools share: `[default]`, `api_key`."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runpod_flash.errors import ConfigError
from runpod_flash.state_folder import write_private

_SECTION, _NAME, _OLD_NAME = "default", "api_key", "apikey"  # runpodctl has written the last, outside of any section
_HEADER = re.compile(rf"^[ \t]*\[[ \t]*{_SECTION}[ \t]*\][ \t]*(#.*)?\r?$", re.MULTILINE)
_ENTRY = re.compile(rf"^[ \t]*{_NAME}[ \t]*=.*$", re.MULTILINE)
_NEXT = re.compile(r"^[ \t]*\[", re.MULTILINE)


def path_of(user_home: Path) -> Path:
    """The file."""
    return user_home / ".runpod" / "config.toml"


def key(user_home: Path) -> str | None:
    """The key that is kept; None where there is none.

    Raises:
        ConfigError: the file cannot be read, or is no TOML.
    """
    _, content = _read(path_of(user_home))
    section = content.get(_SECTION)
    found = content.get(_OLD_NAME) if section is None else section.get(_NAME) if isinstance(section, dict) else None
    return found if isinstance(found, str) and found else None


def keep(user_home: Path, given: str) -> None:
    """Keep a key; all else in the file stays as it is. Afterwards only this user can read it.

    Raises:
        ConfigError: the file cannot be read or written, or is of a form in which the key cannot be changed safely.
    """
    path = path_of(user_home)
    text, content = _read(path)
    changed = _with_key(text, given)
    wanted = {**content, _SECTION: {**_section(path, content), _NAME: given}}
    try:
        is_safe = tomllib.loads(changed) == wanted
    except tomllib.TOMLDecodeError:
        is_safe = False
    if not is_safe:
        raise ConfigError(f"{path} is of an unusual form; write api_key below [{_SECTION}] there yourself")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(path.resolve(), changed.encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error}); make it writable") from error


def _section(path: Path, content: Mapping[str, Any]) -> Mapping[str, Any]:
    section = content.get(_SECTION, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{path} has a '{_SECTION}' that is no section; remove it")
    return section


def _with_key(text: str, given: str) -> str:
    """The text with the key: in place of the one before, else first in its section, else in a new one at the end."""
    entry = f"{_NAME} = {json.dumps(given)}"
    header = _HEADER.search(text)
    if header is None:
        newline = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return f"{text}{newline}[{_SECTION}]\n{entry}\n"
    start = header.end()
    after = _NEXT.search(text, start)
    end_of_section = after.start() if after is not None else len(text)
    before = _ENTRY.search(text, start, end_of_section)
    if before is not None:
        return f"{text[: before.start()]}{entry}{text[before.end() :]}"
    return f"{text[:start]}\n{entry}{text[start:]}"


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_bytes().decode()
        return text, tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return "", {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); mend it or move it away") from error
