"""A blocking HTTP client for a few requests to a platform, or to a server that is like one."""

from urllib.parse import urlsplit

import httpx

from runpod_flash.backends.clients import certificates
from runpod_flash.release import VERSION

HERE = ("localhost", "127.0.0.1", "::1")
"""Hosts that are this machine: nothing there goes through a proxy or over a network."""


def plain_client(url: str, key: str | None = None, *, timeout_s: float) -> httpx.Client:
    """A client for this URL, with the key if there is one. `timeout_s`: seconds for each step of a request.

    Raises:
        ConfigError: certificates cannot be read.
    """
    headers = {"User-Agent": f"runpod-flash/{VERSION}"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return httpx.Client(
        base_url=url,
        headers=headers,
        timeout=timeout_s,
        verify=certificates() if url.startswith("https://") else False,
        trust_env=urlsplit(url).hostname not in HERE,
    )
