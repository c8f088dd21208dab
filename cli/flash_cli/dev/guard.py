"""Who may use the dev server: programs, its own pages, and pages of this machine; not every page that a browser shows.

The server adds the target's key to what it is asked, so a page of somebody else must not reach it, neither by a form
nor by a name that it has let point to this machine.
"""

import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

Headers = Callable[[str], str]
"""Gives the value of a header by its name in lower case; "" where it is absent."""


def refusal(headers: Headers, host: str) -> str:
    """Why a request is refused, in words; "" where it is not.

    Args:
        headers: those of the request.
        host: the name or address that the server listens on.
    """
    asked = _host_of(f"//{headers('host')}")
    if is_loopback(host) and not (is_loopback(asked) or asked == host):
        return (
            f"this server answers on this machine by the names localhost and {host}, not {asked!r:.80}; start it with "
            "--host 0.0.0.0 to answer by any name"
        )
    origin = headers("origin")
    if origin:
        source = _host_of(origin)
        if source == asked or is_loopback(source):
            return ""
        return f"a page of {origin!r:.80} may not use this server; open one of this machine, or send no Origin header"
    if headers("sec-fetch-site") == "cross-site" and headers("sec-fetch-mode") != "navigate":
        return "a page of another site may not use this server"
    return ""


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(url: str) -> str:
    """The host of a URL in lower case, "" where it has none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
