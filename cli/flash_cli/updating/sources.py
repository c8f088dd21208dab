"""A wheel is fetched from a source: a file, a folder of wheels, a clone, a repository, an index. Nothing is installed.

What has to be built is looked at first: a build runs the code of what it builds.
"""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import uv
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from flash_cli.plain_client import plain_client
from flash_cli.updating import simple_index
from flash_cli.updating.installation import NAME
from flash_cli.updating.offers import MARKS
from runpod_flash.errors import BackendUnavailable, ConfigError

GIT = "git+"
_DOWNLOAD_S = 60.0
FORMS = "a wheel, a folder of wheels, a clone, git+URL, or the URL of a wheel or of an index"
"""What a source can be."""


def fetched(source: str, wanted: Version | None, folder: Path, environ: Mapping[str, str]) -> Path:
    """The wheel that a source offers: of the version that is `wanted`, else the newest. It lies below `folder`.

    `environ` is for the programs that fetch and build (PATH, proxies, keys).

    Raises:
        ConfigError: there is no such source, version or program, or it is another project.
        BackendUnavailable: it cannot be reached.
    """
    if source.startswith(GIT):
        return _built(_cloned(source, folder, environ), source, folder, environ)
    if source.startswith(("http://", "https://")):
        return _downloaded(source, wanted, folder)
    path = Path(source).expanduser().absolute()
    if path.is_file() and path.suffix == ".whl":
        return Path(shutil.copy(path, folder))
    if path.is_dir() and (path / "pyproject.toml").is_file():
        return _built(path, source, folder, environ)
    if path.is_dir():
        return Path(shutil.copy(_newest(path, wanted), folder))
    raise ConfigError(f"{source} is no source; it must be {FORMS}")


def _newest(folder: Path, wanted: Version | None) -> Path:
    found = {version: path for path in folder.glob("*.whl") if (version := version_of(path.name)) is not None}
    return found[best(found, wanted, str(folder))]


def version_of(file_name: str) -> Version | None:
    """The version of a wheel of our name; None where it is none, or for single systems only."""
    try:
        name, version, _, tags = parse_wheel_filename(file_name)
    except InvalidWheelFilename:
        return None
    return version if name == NAME and any(tag.platform == "any" for tag in tags) else None


def best(offered: Mapping[Version, object], wanted: Version | None, source: str) -> Version:
    """The version that is wanted, else the newest; previews only where there is nothing else. Raises ConfigError."""
    if not offered:
        raise ConfigError(f"{source} has no wheel of {NAME}")
    if wanted is None:
        return max([version for version in offered if not version.is_prerelease] or offered)
    if wanted not in offered:
        listed = ", ".join(map(str, sorted(offered, reverse=True)[:10]))
        raise ConfigError(f"{source} has no {NAME} {wanted}; it has {listed}")
    return wanted


def _downloaded(url: str, wanted: Version | None, folder: Path) -> Path:
    try:
        with plain_client(url, timeout_s=_DOWNLOAD_S) as client:
            client.follow_redirects = True
            if not url.partition("#")[0].partition("?")[0].endswith(".whl"):
                offered = simple_index.wheels(client, url, version_of)
                return simple_index.download(client, offered[best(offered, wanted, url)], folder)
            return simple_index.download(client, simple_index.File.of_url(url), folder)
    except httpx.HTTPStatusError as error:
        raise ConfigError(f"{url} answers with status {error.response.status_code}; is it {FORMS}?") from error
    except httpx.HTTPError as error:
        raise BackendUnavailable(f"{url} cannot be reached ({error})") from error


def _cloned(source: str, folder: Path, environ: Mapping[str, str]) -> Path:
    """The files of a repository at the revision behind the @ of its path, without its history."""
    parts = urlsplit(source.removeprefix(GIT))
    path, _, revision = parts.path.partition("@")
    place = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
    clone = folder / "clone"
    quiet = {**environ, "GIT_TERMINAL_PROMPT": "0"}
    _run(["git", "init", "--quiet", str(clone)], quiet, source)
    _run(["git", "-C", str(clone), "fetch", "--quiet", "--depth", "1", place, revision or "HEAD"], quiet, source)
    _run(["git", "-C", str(clone), "checkout", "--quiet", "FETCH_HEAD"], quiet, source)
    return clone


def _built(project: Path, source: str, folder: Path, environ: Mapping[str, str]) -> Path:
    """A wheel of a folder with our source, looked at before anything of it runs."""
    try:
        told = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
        name = str(told.get("project", {}).get("name", ""))
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{source} has no pyproject.toml that can be read ({error}); nothing was installed"
        ) from error
    marks = [mark for mark in MARKS if not any((project / part / mark).is_file() for part in ("", "cli", "src"))]
    if canonicalize_name(name) != NAME or marks:
        lacks = f", which lacks {marks[0]}" if marks else ""
        raise ConfigError(f"{source} is of {name or 'something'}{lacks}: another program; nothing was installed")
    out = folder / "built"
    _run([uv.find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(out), str(project)], environ, source)
    return next(out.glob("*.whl"))


def _run(command: Sequence[str], environ: Mapping[str, str], source: str) -> None:
    try:
        done = subprocess.run(
            command, env=dict(environ), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise ConfigError(f"{os.path.basename(command[0])}, which {source} needs, cannot be run ({error})") from error
    if done.returncode != 0:
        raise ConfigError(f"{source} cannot be fetched; {os.path.basename(command[0])} says:\n{done.stderr.strip()}")
