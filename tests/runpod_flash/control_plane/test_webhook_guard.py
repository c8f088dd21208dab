"""No webhook reaches what only this machine can reach, however its host is spelled."""

import contextlib
import ipaddress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.webhook_guard import (
    LONGEST_URL,
    AddressRefused,
    allowed,
    refuse_address,
    refuse_addresses,
    target,
)

NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "100.100.100.200",
    "192.0.2.1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "ff02::1",
    "fec0::1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "64:ff9b::169.254.1.1",
    "2002:a9fe:a9fe::1",
    "::127.0.0.1",
    "2001:db8::1",
    "4000::1",
    "fd00:ec2::254",
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd12::1",
    "fc00::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::10.0.0.1",
    "2002:7f00:1::",
]
PUBLIC = ["8.8.8.8", "172.32.0.1", "100.128.0.1", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
SPELLINGS = ["{0}.{1}.{2}.{3}", "{n}", "0x{n:x}", "0{n:o}", "{0}.{rest}", "0x{0:X}.0{1:o}.{2}.{3}."]

v4 = st.one_of(
    st.ip_addresses(v=4), st.sampled_from(NEVER + PRIVATE).filter(lambda text: ":" not in text).map(IPv4Address)
)


@pytest.mark.parametrize(
    ("texts", "private", "expected"),
    [
        (NEVER, False, False),
        (NEVER, True, False),
        (PRIVATE, False, False),
        (PRIVATE, True, True),
        (PUBLIC, False, True),
    ],
)
def test_which_addresses_are_allowed(texts: list[str], private: bool, expected: bool) -> None:
    judged = {text: allowed(ipaddress.ip_address(text), private=private) for text in texts}
    assert judged == dict.fromkeys(texts, expected)


@given(st.one_of(v4, st.ip_addresses(v=6)))
def test_what_is_allowed_is_public_by_the_librarys_reckoning_too(address: IPv4Address | IPv6Address) -> None:
    if allowed(address, private=False):
        assert allowed(address, private=True)
        inner = address if isinstance(address, IPv4Address) else address.sixtofour or address.ipv4_mapped or address
        assert inner.is_global
        assert True not in (inner.is_multicast, inner.is_unspecified, inner.is_reserved and inner.version == 4)
    if allowed(address, private=True):
        assert True not in (address.is_link_local, address.is_multicast, address.is_unspecified)


@given(v4, st.booleans())
def test_an_ipv4_address_is_judged_the_same_in_each_of_its_forms(address: IPv4Address, private: bool) -> None:
    expected = allowed(address, private=private)
    number = int(address)
    for base in ("::ffff:0:0", "64:ff9b::"):
        assert allowed(IPv6Address(int(IPv6Address(base)) + number), private=private) == expected
    assert allowed(IPv6Address((0x2002 << 112) + (number << 80)), private=private) == expected


@given(v4, st.booleans(), st.sampled_from(SPELLINGS))
def test_odd_spellings_are_judged_by_their_address(address: IPv4Address, private: bool, form: str) -> None:
    number = int(address)
    spelled = form.format(*address.packed, n=number, rest=number & 0xFFFFFF)
    if allowed(address, private=private):
        assert target(f"http://{spelled}:81/p", private=private).raw_host == str(address)
    else:
        with pytest.raises(Problem, match=f"address {address}"):
            target(f"http://{spelled}:81/p", private=private)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "scheme ''"),
        ("ftp://h/", "scheme 'ftp'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("//h/x", "scheme ''"),
        ("http:///x", "no host"),
        ("http:h/x", "no host"),
        ("http://", "no host"),
        ("http://h:0/", "port 0"),
        ("http://h:99999/", "no URL"),
        ("http://[::1", "no URL"),
        ("http://h\\@evil/", "no URL"),
        ("http://a b/", "spaces"),
        ("http://h/\r\nX-A: b", "spaces"),
        ("http://h/\ud800", "spaces"),
        (" http://h/", "spaces"),
        ("http://a..b/", "no name"),
        ("http://%31%32%37.0.0.1/", "no address"),
        ("http://" + "a" * 64 + ".com/", "no name"),
        ("http://" + "a." * 127 + "com/", "no name"),
        ("http://1.2.3.4.5/", "no address"),
        ("http://a.0x7f/", "no address"),
        ("http://99999999999/", "no address"),
        ("http://[fe80::1%25eth0]/", "no address"),
        ("http://[::1]/", "address ::1"),
        ("http://①②⑦.⓪.⓪.①/", "address 127.0.0.1"),
        ("http://user:pass@127.0.0.1/", "address 127.0.0.1"),
        ("http://localhost/", "this machine"),
        ("http://a.LOCALHOST./", "this machine"),
        ("http://h/" + "a" * LONGEST_URL, "characters"),
    ],
)
def test_urls_that_are_refused(url: str, said: str) -> None:
    with pytest.raises(Problem, match=said) as refused:
        target(url, private=False)
    assert refused.value.status == 400
    assert "pass" not in refused.value.detail


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?token=1#part",
        "HTTP://EXAMPLE.com:8080",
        "https://user:pass@example.com/",
        "https://bücher.example/ü",
        "https://under_score.example./",
        "http://1.example/",
        "http://abc.de/",
        "http://[2606:4700::1111]:99/",
        "http://h/".ljust(LONGEST_URL, "a"),
    ],
)
def test_urls_that_are_taken(url: str) -> None:
    assert target(url, private=False).scheme in ("http", "https")


def test_where_private_addresses_are_allowed() -> None:
    assert str(target("http://user:p@0x7f.1:81/a?b", private=True)) == "http://user:p@127.0.0.1:81/a?b"
    assert target("http://[::1]:8080/", private=True).raw_host == "::1"
    assert target("http://localhost/", private=True).raw_host == "localhost"


@given(st.text(max_size=60), st.booleans())
def test_any_text_is_a_url_or_a_problem(text: str, private: bool) -> None:
    for url in (text, f"http://{text}/", f"https://h/{text}"):
        with contextlib.suppress(Problem):
            assert target(url, private=private).raw_host


def test_one_address_that_is_not_allowed_refuses_them_all() -> None:
    refuse_addresses(["8.8.8.8", "2606:4700::1111"], private=False)
    for texts in (["8.8.8.8", "127.0.0.1"], ["fe80::1%2", "8.8.8.8"], []):
        with pytest.raises(AddressRefused):
            refuse_addresses(texts, private=False)


def test_only_the_usual_spelling_is_connected_to() -> None:
    for text in ("2130706433", "127.1", "localhost", ""):
        with pytest.raises(AddressRefused, match="no address"):
            refuse_address(text, private=True)
