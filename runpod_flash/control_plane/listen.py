"""Where a server for others listens, and under which conditions it may. Pure, but for a look at the TLS files."""

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from runpod_flash.errors import ConfigError

_PORTS = range(65_536)


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate with what signs it, and its private key: PEM files."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Listen:
    """An address beside this user's own. `host` is a name or an address, without brackets; port 0 is a free one."""

    host: str
    port: int
    tls: Tls | None = None
    insecure: bool = False

    @property
    def needs_loopback(self) -> bool:
        """Whether only this machine may reach it, because keys and data go over it in clear."""
        return self.tls is None and not self.insecure

    def url(self, port: int) -> str:
        """How it is reached on this port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{port}"


def parse(address: str, cert: str = "", key: str = "", *, insecure: bool = False) -> Listen | None:
    """What the settings say; None where there is no address.

    Raises:
        ConfigError: it is no address, is beyond this machine without TLS, or the TLS files cannot be used.
    """
    if not address:
        if cert or key or insecure:
            raise ConfigError("TLS files and FLASH_INSECURE are for a server with FLASH_LISTEN (--listen HOST:PORT)")
        return None
    host, port = _parts(address)
    listen = Listen(host, port, _tls(cert, key), insecure)
    if listen.tls is not None and insecure:
        raise ConfigError("FLASH_INSECURE (--insecure) is for a server without TLS, and there are TLS files; take one")
    if listen.needs_loopback and not is_loopback(host):
        raise refused(address)
    return listen


def is_loopback(host: str) -> bool:
    """Whether this host is this machine and nobody else can reach it; a name other than "localhost" is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refused(address: str) -> ConfigError:
    """Why nobody may listen there."""
    return ConfigError(
        f"FLASH_LISTEN (--listen) is {address!r:.80}, which others can reach, and without TLS they could read keys and "
        "data on their way: give --tls-cert FILE --tls-key FILE (FLASH_TLS_CERT, FLASH_TLS_KEY), or --insecure "
        "(FLASH_INSECURE=1) where something else protects the way"
    )


def _parts(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    plain = host[1:-1] if bracketed else host
    if not colon or not plain or not _is_port(port) or bracketed != (":" in plain) or set(plain) & set("[]/@ "):
        raise ConfigError(
            f"FLASH_LISTEN (--listen) is {address!r:.80}; it must be HOST:PORT, an IPv6 address in brackets: "
            "127.0.0.1:8080, [::1]:8080"
        )
    return plain, int(port)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) in _PORTS


def _tls(cert: str, key: str) -> Tls | None:
    if not cert and not key:
        return None
    if not cert or not key:
        missing = "FLASH_TLS_KEY (--tls-key)" if cert else "FLASH_TLS_CERT (--tls-cert)"
        raise ConfigError(f"{missing} is not set; TLS needs both files, the certificate and its private key")
    for name, file in (("FLASH_TLS_CERT (--tls-cert)", cert), ("FLASH_TLS_KEY (--tls-key)", key)):
        try:
            Path(file).read_bytes()
        except OSError as error:
            raise ConfigError(f"{name} is {file!r}, which cannot be read: {error.strerror or error}") from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=str)  # asks nobody for a password
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"the certificate {cert!r} and the key {key!r} cannot be used together ({error}); both must be PEM files, "
            "the key of this certificate and without a password"
        ) from error
    return Tls(Path(cert), Path(key))
