"""The only file that prints: results to stdout, everything else to stderr."""

import contextlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

from runpod_flash import lazy
from runpod_flash.errors import ConfigError


def say(text: str) -> None:
    """Write a result for people."""
    print(text, flush=True)


def note(text: str) -> None:
    """Write what people should know beside a result, to stderr."""
    print(text, file=sys.stderr, flush=True)


def passing(text: str) -> None:
    """Show what goes on now, in a line that the next one overwrites; nothing where stderr is no terminal. "": end."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)


def is_person() -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str, *, yes: bool, option: str = "--yes") -> bool:
    """Whether the user agrees, or has done so already with `yes`.

    Raises:
        ConfigError: nobody is there to be asked; the message names the `option` that agrees.
    """
    return yes or asked(f"{question} [y/N]", f"say {option} to agree").strip().lower() in ("y", "yes")


def typed(words: str, question: str, *, yes: bool, option: str = "--yes") -> bool:
    """Whether the user types these very words, or has agreed already with `yes`. Raises as `agreed`."""
    return yes or asked(f"{question} Type {words} to go on:", f"say {option} to agree").strip() == words


def asked(question: str, instead: str) -> str:
    """What the user answers. Raises ConfigError: nobody is there; the message says what to do `instead`."""
    if not is_person():
        raise ConfigError(f"{question.strip()} There is no terminal to ask at: {instead}")
    print(f"{question} ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()


def size(count: float) -> str:
    """A number of bytes for people: 512 B, 3.2 MB."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} GB"


def data(value: Any) -> None:
    """Write a result for programs: one JSON document."""
    print(json.dumps(value, indent=2, sort_keys=True), flush=True)


def line(value: Any) -> None:
    """Write one of many results for programs: a JSON document in a line."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write rows below their headers, in columns as wide as their widest cell; in a terminal so that they fit in it."""
    if sys.stdout.isatty():
        _rich_table(headers, rows)
        return
    cells = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    for row in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text, style = lazy.load("rich.text").Text, lazy.load("rich.style").Style
    shown = lazy.load("rich.table").Table(box=None, padding=(0, 2, 0, 0), header_style=style(bold=True))
    for header in headers:
        shown.add_column(header, overflow="fold")
    for row in rows:
        shown.add_row(*(text(str(cell)) for cell in row))
    lazy.load("rich.console").Console(highlight=False).print(shown)


def let_go() -> None:
    """Give up streams that nobody reads any more, so that what is left in them is no failure of the program."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def failure(error: BaseException, *, trace: bool) -> None:
    """Write an error to stderr: its message, or with `trace` the whole traceback."""
    if trace:
        traceback.print_exception(error)
    else:
        print(f"error: {error}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time span in its two largest units: 45 s, 3 min 20 s, 2 h 5 min, 4 d 3 h."""
    left, parts = int(seconds), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def since(start: float) -> str:
    """The time span from `start`, in seconds since the epoch, to now."""
    return duration(max(0.0, time.time() - start))


def words(name: str) -> str:
    """A name of the API in plain words: `inQueue` is "in queue"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
