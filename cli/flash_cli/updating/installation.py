"""How this package is installed here, and where from."""

import json
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from runpod_flash.errors import ConfigError
from runpod_flash.release import package_folders
from runpod_flash.state_folder import write_private

NAME = "runpod-flash"

_TOOLS = {"uv-receipt.toml": "uv tool", "pipx_metadata.json": "pipx"}


@dataclass(frozen=True, slots=True)
class Installation:
    """An environment that has this package.

    Attributes:
        version: the package's.
        python: the environment's interpreter.
        kind: what has made the environment, in words.
        source: where the package was installed from, None where that is not known: from an index.
    """

    version: str
    python: str
    kind: str
    source: str | None


def found(home: Path) -> Installation:
    """The installation that runs now. `home` is FLASH_HOME, where updates note their sources.

    Raises:
        ConfigError: there is none that could be updated: a working copy, or no installation.
    """
    folder = package_folders()[0]
    try:
        distribution = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        raise ConfigError(f"{NAME} is not installed: it runs from {folder}; update that folder") from None
    origin = _origin(distribution)
    if origin.get("dir_info", {}).get("editable"):
        place = _path_of(str(origin.get("url", "")))
        raise ConfigError(f"{NAME} is installed as a working copy of {place}; update it there, with git pull say")
    if Path(str(distribution.locate_file("runpod_flash"))).resolve().parent != folder.resolve():
        raise ConfigError(f"{NAME} runs from {folder}, which is not where it is installed; update that folder")
    source = _noted(home).get(sys.prefix) or _source_of(origin)
    return Installation(distribution.version, sys.executable, _kind(Path(sys.prefix)), source)


def note_source(home: Path, source: str) -> None:
    """Remember where this environment's package is from: what installs it sees a file of ours only.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(_notes(home), json.dumps({**_noted(home), sys.prefix: source}, indent=1).encode())
    except OSError as error:
        raise ConfigError(f"{_notes(home)} cannot be written ({error})") from error


def _notes(home: Path) -> Path:
    return home / "update_sources.json"


def _noted(home: Path) -> dict[str, str]:
    """The source of each environment that was updated; one that is damaged is written anew."""
    try:
        noted = json.loads(_notes(home).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in noted.items()} if isinstance(noted, dict) else {}


def _origin(distribution: metadata.Distribution) -> dict[str, Any]:
    """What its installer noted of where it is from (PEP 610); nothing where that was an index."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return origin if isinstance(origin, dict) else {}


def _source_of(origin: dict[str, Any]) -> str | None:
    url = origin.get("url")
    if not isinstance(url, str):
        return None
    if isinstance(vcs := origin.get("vcs_info"), dict):
        revision = vcs.get("requested_revision")
        return f"{vcs.get('vcs', 'git')}+{url}" + (f"@{revision}" if revision else "")
    return _path_of(url)


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    return url2pathname(parts.path) if parts.scheme == "file" else url


def _kind(prefix: Path) -> str:
    for mark, tool in _TOOLS.items():
        if (prefix / mark).exists():
            return f"the environment of {tool} at {prefix}"
    return f"the environment {prefix}" if sys.prefix != sys.base_prefix else f"Python at {prefix}"
