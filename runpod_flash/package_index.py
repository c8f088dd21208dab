"""Read the caller's pip configuration, so that packages come from where pip would take them.

As pip does it: files in the order global, user, site (`sys.prefix`), PIP_CONFIG_FILE, each later one over the earlier;
in them [install] over [global]; above all PIP_* variables. Of the settings, those that say where packages come from.
"""

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from runpod_flash.errors import ConfigError
from worker_runtime.wire.specs import PackageIndex

_SECTIONS = ("global", "install")
_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")
_CERT_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def read(environ: Mapping[str, str], prefix: Path) -> PackageIndex:
    """What pip, started with `environ` from the environment at `prefix`, would use as package index.

    Relative paths count from the current directory. Raises ConfigError for a file or value that pip would refuse.
    """
    settings = _settings(environ, prefix)
    home = _home(environ)
    index_url = settings.get("index-url") or settings.get("pypi-url")
    return PackageIndex(
        index_url=_place(index_url) if index_url else None,
        extra_index_urls=tuple(_place(url) for url in settings.get("extra-index-url", "").split()),
        find_links=tuple(_place(_expanded(link, home)) for link in settings.get("find-links", "").split()),
        no_index=_boolean("no-index", settings.get("no-index", "no")),
        trusted_hosts=tuple(settings.get("trusted-host", "").split()),
        cert=_cert(settings, environ, home),
    )


def _settings(environ: Mapping[str, str], prefix: Path) -> dict[str, str]:
    """All settings in pip's long names, the winning value of each."""
    sections: dict[str, dict[str, str]] = {name: {} for name in _SECTIONS}
    for file in _files(environ, prefix):
        parser = _parsed(file)
        for name in _SECTIONS:
            if parser.has_section(name):
                sections[name].update({_long(key): value for key, value in parser.items(name)})
    variables = {_long(name[4:]): value for name, value in environ.items() if name.startswith("PIP_")}
    # An empty value sets nothing; it does hide the same setting of an earlier file.
    levels = [{key: value for key, value in level.items() if value} for level in (*sections.values(), variables)]
    return {key: value for level in levels for key, value in level.items()}


def _files(environ: Mapping[str, str], prefix: Path) -> Iterator[Path]:
    """pip's configuration files, the weakest first."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    yield from _global_files(environ)
    if not (named and os.path.exists(named)):
        yield from _user_files(environ)
    yield prefix / "pip.conf"
    if named:
        yield Path(named)


def _global_files(environ: Mapping[str, str]) -> Iterator[Path]:
    if sys.platform == "darwin":
        yield Path("/Library/Application Support/pip/pip.conf")
        return
    folders = environ.get("XDG_CONFIG_DIRS", "").strip() or "/etc/xdg"
    yield from (Path(folder) / "pip" / "pip.conf" for folder in folders.split(os.pathsep))
    yield Path("/etc/pip.conf")


def _user_files(environ: Mapping[str, str]) -> Iterator[Path]:
    home = _home(environ)
    yield home / ".pip" / "pip.conf"
    own = home / "Library" / "Application Support" / "pip"
    if sys.platform == "darwin":
        yield (own if own.is_dir() else home / ".config" / "pip") / "pip.conf"
    else:
        yield Path(environ.get("XDG_CONFIG_HOME", "").strip() or home / ".config") / "pip" / "pip.conf"


def _parsed(file: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    try:
        parser.read(file, encoding="utf-8")  # one that is not there is none
    except (configparser.Error, UnicodeDecodeError) as error:
        reason = str(error).replace("\n", " ")
        raise ConfigError(f"pip's configuration file {file} cannot be read: {reason}. Mend or remove it") from None
    return parser


def _long(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


def _boolean(name: str, text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ConfigError(f"pip's setting {name} is {text!r}; it must be yes or no")


def _cert(settings: Mapping[str, str], environ: Mapping[str, str], home: Path) -> str | None:
    if settings.get("cert"):
        return _place(_expanded(settings["cert"], home))
    bundles = (environ.get(name, "") for name in _CERT_VARIABLES)
    return next((_place(bundle) for bundle in bundles if bundle and os.path.exists(bundle)), None)


def _expanded(path: str, home: Path) -> str:
    return str(home) + path[1:] if path == "~" or path.startswith("~/") else path


def _place(place: str) -> str:
    """A URL as it is, a path as an absolute one: who reads it has another current directory."""
    return place if "://" in place or place.startswith("file:") else os.path.abspath(place)
