"""How a bad option is refused: what was given, what is allowed, and the nearest right value."""

import keyword
import re
from collections.abc import Iterable
from typing import Any

from runpod_flash import lazy
from runpod_flash.errors import ConfigError

_LONG = 80  # characters of a given value that a message shows


def refusal(option: str, given: Any, allowed: str, near: str | None = None) -> ConfigError:
    """The error that says what was given, what is allowed and, where there is one, the nearest right value."""
    shown = repr(given)
    shown = shown if len(shown) <= _LONG else shown[: _LONG - 1] + "…"
    hint = f"; did you mean {near}?" if near else ""
    return ConfigError(f"{option}= is {shown}; it must be {allowed}{hint}")


def nearest(given: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that is most like `given`, None where none is."""
    words = {_plain(word): word for word in allowed}
    wanted = _plain(given)
    inside = [word for word in words if wanted and wanted in word] if len(wanted) > 2 else []
    close: list[str] = lazy.load("difflib").get_close_matches(
        wanted, inside or words, n=1, cutoff=0.0 if inside else 0.55
    )
    return words[close[0]] if close else None


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]+", "", word).lower()


def name_to_import(text: str) -> str:
    """The name of a module that a text is, or that may be meant by it; empty where there is none."""
    start = re.split(r"[^\w.]", text.strip().replace("-", "_"), maxsplit=1)[0]
    return ".".join(filter(_is_module, start.split(".")))


def _is_module(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)
