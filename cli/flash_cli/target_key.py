"""The key for a platform, as a user gives it: read, looked at, tried."""

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

import typer

from flash_cli import console
from flash_cli.plain_client import HERE
from runpod_flash import backends
from runpod_flash.errors import AuthError, BackendError, BackendUnavailable, ConfigError, WireMismatch
from runpod_flash.settings import Settings


def given(name: str, key: str | None, *, key_stdin: bool) -> tuple[str, str] | None:
    """The key that was given, and where: by an option, by standard input, by a person who is asked for it.

    `name`: what it is for, in words. None where it was given nowhere and nobody can be asked; it may be empty.

    Raises:
        ConfigError: it has characters that no key has.
    """
    if key is not None:
        return _clean(key, "--key"), "--key"
    if key_stdin:
        return _clean(sys.stdin.readline(), "standard input"), "standard input"
    if sys.stdin.isatty():
        typed = typer.prompt(f"Key for {name}", hide_input=True, default="", show_default=False)
        return _clean(typed, "the prompt"), "the prompt"
    return None


def check(url: str, key: str | None, source: str, *, way_out: str = "") -> None:
    """Ask the platform, so that no key is kept with which calls would fail.

    `way_out` is said where another program answers.

    Raises:
        BackendUnavailable, AuthError, WireMismatch, BackendError: it does not answer, refuses the key, is no platform.
    """
    asyncio.run(_check(url, key, source, way_out))


def warn_of_plain_http(url: str) -> None:
    """Say that a key goes over the network unencrypted, where it does."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in HERE:
        console.say("warning: http:// sends the key and all data unencrypted; https:// does not")


def _clean(text: str, source: str) -> str:
    text = text.strip()
    if not text.isascii() or not text.isprintable():
        raise ConfigError(f"the key from {source} has characters that no key has")
    return text


async def _check(url: str, key: str | None, source: str, way_out: str) -> None:
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
        raise BackendError(f"{url} is no platform for calls: {error}{way_out}") from error
