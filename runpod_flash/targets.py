"""The platforms that `flash target` and `flash login` have noted, with their keys: FLASH_HOME/targets.json.

Only this user can read it.

{"version": 1, "current": "local" or a URL, "targets": [{"url": …, "key": … or null, "name": … or null}, …]}
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runpod_flash.errors import ConfigError
from runpod_flash.state_folder import write_private
from runpod_flash.wording import nearest

LOCAL = "local"
_RESERVED = (LOCAL, "inline", "runpod")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VERSION = 1
_WAY_OUT = "remove it, or write it anew with `flash target use`"


@dataclass(frozen=True, slots=True)
class Target:
    """A platform at a URL and the key for it. `name`: what the user calls it."""

    url: str
    key: str | None = field(default=None, repr=False)
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """What is noted. `current` is `LOCAL` or the URL of one of `known`; None: nothing was chosen."""

    current: str | None = None
    known: tuple[Target, ...] = ()

    def find(self, url: str) -> Target | None:
        """What is noted of a platform."""
        return next((target for target in self.known if target.url == url), None)

    def resolved(self, text: str) -> str:
        """The URL that a name or a URL means, in the one form.

        Raises:
            ConfigError: it is neither; the message offers the nearest name.
        """
        names = {target.name: target.url for target in self.known if target.name is not None}
        if text in names:
            return names[text]
        try:
            return normalized(text)
        except ConfigError as error:
            near = nearest(text, names)
            raise ConfigError(f"{error}" + (f"; did you mean {near}?" if near else "")) from None

    def adding(self, url: str, key: str | None, name: str | None) -> "Targets":
        """The same with this platform noted, not chosen. A name or key that is None is left as it was.

        Raises:
            ConfigError: the name is none, or another platform has it.
        """
        if name is not None:
            self._check_name(url, name)
        known = self.find(url) or Target(url)
        known = replace(known, key=known.key if key is None else key, name=known.name if name is None else name)
        others = tuple(target for target in self.known if target.url != url)
        return replace(self, known=(*others, known))

    def removing(self, url: str) -> "Targets":
        """The same without this platform; where it was chosen, nothing is."""
        others = tuple(target for target in self.known if target.url != url)
        return Targets(None if self.current == url else self.current, others)

    def _check_name(self, url: str, name: str) -> None:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ConfigError(
                f"a platform cannot be called {name!r:.80}; it must be 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', "
                f"begin with a letter or digit, and be none of {', '.join(_RESERVED)}"
            )
        taken = next((target.url for target in self.known if target.name == name and target.url != url), None)
        if taken is not None:
            raise ConfigError(f"{name} is the name of {taken}; take another, or remove it: flash target remove {name}")

    def using(self, url: str, key: str | None) -> "Targets":
        """The same with this platform noted and chosen."""
        known = self.find(url) or Target(url)
        others = tuple(target for target in self.known if target.url != url)
        return Targets(url, (*others, replace(known, key=key)))

    def using_local(self) -> "Targets":
        """The same with this machine chosen."""
        return replace(self, current=LOCAL)


def path_of(home: Path) -> Path:
    """The file."""
    return home / "targets.json"


def normalized(url: str) -> str:
    """A URL in the one form in which platforms are compared.

    Raises:
        ConfigError: it is no URL of a platform.
    """
    try:
        parts = urlsplit(url.strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        good = good and parts.username is None and not parts.query and not parts.fragment
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{url!r:.200} is no URL of a platform; it must be like https://host or http://host:port")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def read(home: Path) -> Targets:
    """What is noted; nothing where there is no file.

    Raises:
        ConfigError: the file cannot be read, or is none of ours.
    """
    path = path_of(home)
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Targets()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); {_WAY_OUT}") from error
    if not isinstance(data, dict) or data.get("version") != _VERSION:
        raise ConfigError(f"{path} is of another version of runpod-flash; upgrade it, or {_WAY_OUT}")
    current, listed = data.get("current"), data.get("targets")
    if not _is_text(current) or not isinstance(listed, list) or not all(map(_is_target, listed)):
        raise ConfigError(f"{path} is no list of targets; {_WAY_OUT}")
    known = tuple(Target(each["url"], each.get("key"), each.get("name")) for each in listed)
    if current not in (None, LOCAL, *(target.url for target in known)):
        raise ConfigError(f"{path} names {current!r:.80} as current, which is none of its targets; {_WAY_OUT}")
    return Targets(current, known)


def write(home: Path, targets: Targets) -> None:
    """Note targets, in one step. Raises ConfigError where the file cannot be written."""
    content = {
        "version": _VERSION,
        "current": targets.current,
        "targets": [asdict(target) for target in targets.known],
    }
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path_of(home), json.dumps(content, indent=2).encode())
    except OSError as error:
        raise ConfigError(
            f"{path_of(home)} cannot be written ({error}); set FLASH_HOME to a folder of yours"
        ) from error


def _is_target(data: Any) -> bool:
    if not isinstance(data, Mapping) or not isinstance(data.get("url"), str):
        return False
    return _is_text(data.get("key")) and _is_text(data.get("name"))


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)
