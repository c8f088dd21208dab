"""What the command itself reads from the environment."""

import math
from collections.abc import Mapping

from runpod_flash.errors import ConfigError

IMPORT_S = 30.0
"""How long the import of one file of a project may take, in seconds, where FLASH_IMPORT_S does not say."""


def import_s(environ: Mapping[str, str]) -> float:
    """How long the import of one file may take, in seconds. Raises ConfigError for what is no such number."""
    text = environ.get("FLASH_IMPORT_S", "")
    if not text:
        return IMPORT_S
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 3600:
        raise ConfigError(f"FLASH_IMPORT_S is {text!r}; it must be a number of seconds above 0, at most 3600")
    return value
