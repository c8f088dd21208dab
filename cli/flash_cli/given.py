"""JSON that a user gives to a command: as text, in a file, or on standard input."""

import json
import sys
from pathlib import Path
from typing import Any

from runpod_flash.errors import ConfigError
from worker_runtime.wire import plain_json

STDIN = "-"


def read(text: str | None, file: str | None, *, stdin: bool = False) -> Any:
    """The value that was given by `--json`, by `--file` or on standard input; None where nothing was.

    Raises:
        ConfigError: it was given twice, the file cannot be read, or it is no JSON; then with line and column.
    """
    ways = [name for name, there in (("--json", text is not None), ("--file", file is not None), ("-", stdin)) if there]
    if len(ways) > 1:
        raise ConfigError(f"the input is given by {' and by '.join(ways)}; give it once")
    if not ways:
        return None
    if stdin or STDIN in (text, file):
        return _parsed(sys.stdin.read(), "standard input")
    if text is not None:
        return _parsed(text, "--json")
    assert file is not None
    try:
        return _parsed(Path(file).read_text(encoding="utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--file {file} cannot be read: {error}") from error


def _parsed(text: str, source: str) -> Any:
    try:
        return plain_json.decode(text)
    except json.JSONDecodeError as error:
        lines = text.splitlines()
        shown = lines[error.lineno - 1][:120] if error.lineno <= len(lines) else ""
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{source} is no JSON: {error.msg} at {where}" + (f": {shown}" if shown else "")) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is no JSON: {error}") from error
