"""Where a server for others may listen."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane import listen
from runpod_flash.control_plane.listen import Listen, Tls, parse
from runpod_flash.errors import ConfigError
from tests.support.certificates import make_certificate


@pytest.mark.parametrize("address", ["127.0.0.1:80", "127.0.0.2:0", "localhost:65535", "[::1]:8080"])
def test_this_machine_needs_neither_tls_nor_leave(address: str) -> None:
    found = parse(address)
    assert found is not None
    assert (found.tls, found.insecure, found.needs_loopback) == (None, False, True)
    assert found.url(found.port) == f"http://{address}"


@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80", "192.168.0.7:80", "example.org:80", "127.0.0.1.x:80"])
def test_beyond_it_tls_or_leave_is_needed(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--tls-cert FILE --tls-key FILE .* or --insecure"):
        parse(address)
    assert parse(address, insecure=True) is not None
    cert, key = make_certificate(tmp_path)
    found = parse(address, str(cert), str(key))
    assert found is not None
    assert (found.tls, found.url(80)) == (Tls(cert, key), f"https://{address}")


@pytest.mark.parametrize(
    "address",
    ["8080", "host", ":80", "host:", "host:x", "host:-1", "host:65536", "::1:80", "[::1]", "[h]:80", "a@b:80",
     "http://h:80", "[::1]x:80", "h:８０", "[]:80"],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigError, match="must be HOST:PORT"):
        parse(address, insecure=True)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except ConfigError:
        return
    assert (found is None) is (text == "")
    if found is not None:
        assert listen.is_loopback(found.host)
        assert 0 <= found.port <= 65535


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = make_certificate(tmp_path / "other")
    _, locked = make_certificate(tmp_path, password=b"secret")
    text = tmp_path / "text"
    text.write_text("no PEM")
    gone = tmp_path / "gone"
    for given_cert, given_key, said in (
        (cert, "", "FLASH_TLS_KEY"),
        ("", key, "FLASH_TLS_CERT"),
        (gone, key, "FLASH_TLS_CERT .* cannot be read: No such file"),
        (cert, gone, "FLASH_TLS_KEY .* cannot be read"),
        (cert, tmp_path, "FLASH_TLS_KEY .* cannot be read: Is a directory"),
        (cert, other, "cannot be used together"),
        (cert, text, "cannot be used together"),
        (text, key, "cannot be used together"),
        (cert, locked, "cannot be used together"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse("127.0.0.1:0", str(given_cert), str(given_key))


def test_contradictions(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    with pytest.raises(ConfigError, match="take one"):
        parse("0.0.0.0:0", str(cert), str(key), insecure=True)
    assert parse("") is None
    for options in ({"cert": str(cert)}, {"key": str(key)}, {"insecure": True}):
        with pytest.raises(ConfigError, match="FLASH_LISTEN"):
            parse("", **options)  # type: ignore[arg-type]


def test_a_url_has_the_port_that_was_found() -> None:
    assert Listen("::1", 0).url(81) == "http://[::1]:81"
