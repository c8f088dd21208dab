"""Where webhooks may go: which URLs are taken, and which addresses are ever connected to.

A URL comes from a user, the connection from this machine: without rules, users could reach what only this machine can.
"""

import contextlib
import ipaddress
import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from runpod_flash import lazy
from runpod_flash.control_plane.problems import Problem

if TYPE_CHECKING:
    from yarl import URL

LONGEST_URL = 2048
"""How many characters a URL may have."""

Address = IPv4Address | IPv6Address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# Written out, because what `ipaddress` calls private or global changes between releases of Python.
_NEVER: Final = _networks(
    "0.0.0.0/8",  # unspecified
    "169.254.0.0/16",  # link-local, the metadata of most clouds
    "192.0.0.0/24",  # from here on, IPv4 that is reserved for protocols and for documentation
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
    "100.100.100.200/32",  # metadata of clouds outside the link-local range
    "168.63.129.16/32",
    "fd00:ec2::/32",
    "2001::/23",  # Teredo and other protocols
    "2001:db8::/32",  # documentation
    "3fff::/20",
)
_PRIVATE: Final = _networks(
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "198.18.0.0/15",  # benchmarks; in use as addresses of proxies
    "::1/128",
    "fc00::/7",
)
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")  # what is outside is link-local, multicast, unspecified, reserved
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


class AddressRefused(OSError):
    """No connection is made to this address."""


def allowed(address: Address, *, private: bool) -> bool:
    """Whether a webhook may be sent to this address; `private`: those of this machine and of its networks, too."""
    address = _inner(address)
    if any(address in network for network in _NEVER):
        return False
    if any(address in network for network in _PRIVATE):
        return private
    return isinstance(address, IPv4Address) or address in _GLOBAL_V6


def refuse_address(text: str, *, private: bool) -> None:
    """Raise AddressRefused where `text` is no address in the usual spelling, or one that is not allowed."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise AddressRefused("what was to be connected to is no address") from None
    if not allowed(address, private=private):
        raise AddressRefused(f"address {address} is not allowed for webhooks")


def refuse_addresses(texts: Sequence[str], *, private: bool) -> None:
    """Raise AddressRefused where there is none, or where one of them is not allowed."""
    if not texts:
        raise AddressRefused("the host has no address")
    for text in texts:
        refuse_address(text, private=private)


def target(url: str, *, private: bool) -> "URL":
    """The URL to connect to, a literal address in its usual spelling.

    Userinfo is allowed: it becomes basic authentication. Names are not resolved here, their addresses are judged when
    the connection is made.

    Raises:
        Problem: 400, it is not a URL of a webhook, or its address is not allowed.
    """
    if len(url) > LONGEST_URL:
        raise _refused(f"has {len(url)} characters; at most {LONGEST_URL} are allowed")
    if not url.isprintable() or " " in url:
        raise _refused("has spaces or characters that cannot be printed; encode them (%20)")
    try:
        parsed: URL = lazy.load("yarl").URL(url)
        host, port = parsed.raw_host or "", parsed.port
    except ValueError:
        raise _refused("is no URL") from None
    if parsed.scheme not in ("http", "https"):
        raise _refused(f"has the scheme {parsed.scheme!r:.20}; it must be http or https")
    if not host:
        raise _refused("names no host")
    if port == 0:
        raise _refused("has the port 0; it must be 1 to 65535")
    address = _literal(host)
    if address is None:
        _check_name(host, private=private)
        return parsed
    if not allowed(address, private=private):
        raise _refused(f"leads to the address {address}, which is not allowed for webhooks")
    return parsed.with_host(str(address))


def _check_name(host: str, *, private: bool) -> None:
    labels = host.removesuffix(".").split(".")
    if len(host) > 254 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused("has a host that is no name of one")
    if labels[-1].lower() == "localhost" and not private:
        raise _refused("leads to this machine itself, which is not allowed for webhooks")


def _literal(host: str) -> Address | None:
    """The address that a host spells, in any of the ways that systems take; None where it is a name."""
    if ":" in host:
        with contextlib.suppress(ValueError):
            address = ipaddress.IPv6Address(host)
            if address.scope_id is None:
                return address
        raise _refused("has a host that is no address")
    host = host.removesuffix(".")
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    if re.fullmatch(r"[0-9a-fx.]+", host, re.IGNORECASE):
        with contextlib.suppress(OSError):
            return IPv4Address(socket.inet_aton(host))
    raise _refused("has a host that is no address")


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _refused(text: str) -> Problem:
    return Problem(400, f"'webhook' {text}", code="ConfigError")
