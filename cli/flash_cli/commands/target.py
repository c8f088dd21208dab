"""`flash target`: which platform calls go to, when the environment does not say it."""

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

import typer

from flash_cli import console
from runpod_flash import backends, settings, targets
from runpod_flash.errors import AuthError, BackendError, BackendUnavailable, ConfigError, WireMismatch
from runpod_flash.settings import Settings
from runpod_flash.targets import LOCAL, Targets

_HERE = ("localhost", "127.0.0.1", "::1")


def use(target: str, *, key: str | None, key_stdin: bool, check: bool) -> None:
    """Note where calls go: LOCAL or a URL, with the key for it.

    Raises:
        ConfigError: `target` is neither, or the file cannot be written.
        BackendUnavailable, AuthError, BackendError: it does not answer, refuses the key, is no platform.
    """
    if key is not None and key_stdin:
        raise typer.BadParameter("give the key by --key or by --key-stdin, not by both")
    chosen = settings.load()
    home = chosen.home
    noted = targets.read(home)
    if target == LOCAL:
        targets.write(home, noted.using_local())
        console.say("calls go to this machine")
    else:
        url = targets.normalized(target)
        found, source = _key(url, key, key_stdin, noted, home)
        if check:
            asyncio.run(_check(url, found, source))
        targets.write(home, noted.using(url, found))
        console.say(f"calls go to {url}" + ("" if found else ", without a key"))
        parts = urlsplit(url)
        if found and parts.scheme == "http" and parts.hostname not in _HERE:
            console.say("warning: http:// sends the key and all data unencrypted; https:// does not")
    if given := chosen.environ.get("FLASH_TARGET"):
        console.say(f"warning: FLASH_TARGET is set to {given}, which goes before this as long as it is set")


def list_all(*, as_json: bool) -> None:
    """Show what is noted; keys are not shown. Raises ConfigError where the file cannot be read."""
    chosen = settings.load()
    noted = targets.read(chosen.home)
    if as_json:
        known = [{"url": each.url, "name": each.name, "has_key": each.key is not None} for each in noted.known]
        console.data({"current": chosen.target, "chosen": noted.current, "targets": known})
        return
    rows = [(LOCAL, "-"), *((each.url, "noted" if each.key else "none") for each in noted.known)]
    console.table(("", "TARGET", "KEY"), [("*" if url == chosen.target else "", url, key) for url, key in rows])


def show() -> None:
    """Show where calls go, and why. Raises ConfigError where a setting or the file cannot be read."""
    chosen = settings.load()
    console.say(f"{chosen.target} ({_why(chosen)})")
    if chosen.target.startswith("http"):
        console.say(f"key: from {chosen.api_key_from}" if chosen.api_key else "key: none")


def _why(chosen: Settings) -> str:
    if chosen.environ.get("FLASH_TARGET"):
        return "FLASH_TARGET"
    return str(targets.path_of(chosen.home)) if chosen.target_chosen else "nothing else was chosen"


def _key(url: str, key: str | None, key_stdin: bool, noted: Targets, home: Path) -> tuple[str | None, str]:
    """The key to use and where it came from: given, noted before, or asked for where a person is there."""
    known = noted.find(url)
    if key is not None:
        found, source = key, "--key"
    elif key_stdin:
        found, source = sys.stdin.readline(), "standard input"
    elif known is not None and known.key is not None:
        return known.key, str(targets.path_of(home))
    elif sys.stdin.isatty():
        found, source = typer.prompt(f"Key for {url}", hide_input=True, default="", show_default=False), "the prompt"
    else:
        return None, ""
    found = found.strip()
    if not found.isascii() or not found.isprintable():
        raise ConfigError(f"the key from {source} has characters that no key has")
    return found or None, source


async def _check(url: str, key: str | None, source: str) -> None:
    """Raise where calls would fail at once."""
    asked = Settings(target=url, target_chosen=True, api_key=key, api_key_from=source)
    try:
        backend = await backends.connect(asked, Path.cwd())
        try:
            await backend.find("")
        finally:
            await backend.aclose()
    except (AuthError, BackendUnavailable, WireMismatch):
        raise
    except BackendError as error:
        raise BackendError(f"{url} is no platform for calls: {error}; --no-check notes it all the same") from error
