"""What programs that are measured get of this program's environment, and which bounds are set for all of them."""

import os
from collections.abc import Mapping

_KEPT = (
    "HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
_PREFIXES = ("PIP_", "UV_")

_BOUNDS = {
    "FLASH_LOGS": "off",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # else it ends its workers where others on the machine use much memory
    "RUNPOD_DEBUG_LEVEL": "ERROR",
    "UVICORN_LOG_LEVEL": "error",
    "PYTHONWARNINGS": "ignore",
}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a program that is measured: an allow-list of this one, and `extra`."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_PREFIXES)}
    return {**kept, **_BOUNDS, **(extra or {})}
