"""What the conformance tests run against: read once from the environment, before any test starts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the caller chose.

    Attributes:
        url: base URL of the API, without `/v2` (`FLASH_CONFORMANCE_URL`); None: a control plane of our own is started.
        key: API key (`FLASH_CONFORMANCE_KEY`).
        endpoints: JSON, the ids of endpoints that run our handlers already, by the handler's name
            (`FLASH_CONFORMANCE_ENDPOINTS`); None: the tests create them with `command` and `directory`.
    """

    url: str | None
    key: str | None = field(repr=False)
    endpoints: str | None


def load(environ: Mapping[str, str] | None = None) -> Chosen:
    """Read the settings. Raises ValueError: a URL without a key."""
    env = os.environ if environ is None else environ
    url, key = env.get("FLASH_CONFORMANCE_URL") or None, env.get("FLASH_CONFORMANCE_KEY") or None
    if url and not key:
        raise ValueError("FLASH_CONFORMANCE_URL is set and FLASH_CONFORMANCE_KEY is not; the tests need a key there")
    return Chosen(url.rstrip("/") if url else None, key, env.get("FLASH_CONFORMANCE_ENDPOINTS") or None)
