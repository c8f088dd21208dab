"""Which headers cross the border."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.balancing.headers import declared_size, expects_continue, has_body, to_client, to_worker

TOKENS = st.text("abcdefgh-xyz", min_size=1, max_size=12).map(str.encode)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map(str.encode)


def scope(*headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": "http", "scheme": "http", "client": ("10.0.0.9", 5), "headers": list(headers), **more}


def sent(*headers: tuple[bytes, bytes], **more: Any) -> list[tuple[str, str]]:
    return to_worker(scope(*headers, **more))


def test_what_is_of_this_connection_or_of_this_platform_stays_here() -> None:
    names = [
        b"authorization", b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"expect", b"x-runpod-worker-id", b"content-length",
        b"sec-websocket-key",
    ]  # fmt: skip
    kept = dict(sent(*((name, b"1") for name in names), (b"connection", b"X-Mine, close"), (b"x-mine", b"1")))
    assert kept == {"X-Forwarded-For": "10.0.0.9", "X-Forwarded-Proto": "http"}


def test_the_rest_goes_on_in_order_with_its_host_and_its_duplicates() -> None:
    headers = [(b"host", b"abc.localhost:1"), (b"cookie", b"a=1"), (b"accept", b"a"), (b"accept", b"b")]
    kept = sent(*headers, (b"content-length", b"3"))
    assert kept[:5] == [(name.decode(), value.decode()) for name, value in [*headers, (b"content-length", b"3")]]
    assert kept[5:] == [
        ("X-Forwarded-For", "10.0.0.9"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "abc.localhost:1"),
    ]  # fmt: skip


def test_the_way_that_a_request_came_is_added_to_what_others_said() -> None:
    forwarded = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-proto", b"gopher"), (b"x-forwarded-host", b"lie")]
    kept = sent(*forwarded, (b"x-forwarded-for", b"2.2.2.2"), (b"host", b"h"), scheme="wss")
    assert kept == [
        ("host", "h"), ("X-Forwarded-For", "1.1.1.1, 2.2.2.2, 10.0.0.9"), ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "h"),
    ]  # fmt: skip


def test_a_client_that_the_header_ends_with_already_is_not_named_twice() -> None:
    assert dict(sent((b"x-forwarded-for", b"1.1.1.1, 10.0.0.9")))["X-Forwarded-For"] == "1.1.1.1, 10.0.0.9"
    assert dict(sent((b"x-forwarded-for", b"110.0.0.9")))["X-Forwarded-For"] == "110.0.0.9, 10.0.0.9"


def test_a_client_without_an_address_is_not_named() -> None:
    assert sent(client=None) == [("X-Forwarded-Proto", "http")]


def test_utf_8_stays_what_it_is() -> None:
    assert dict(sent((b"x-name", "Zoë".encode())))["x-name"].encode() == "Zoë".encode()
    assert dict(sent((b"x-name", b"Zo\xeb")))["x-name"] == "Zoë"


def test_what_comes_back() -> None:
    raw = [
        (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"Transfer-Encoding", b"chunked"), (b"Date", b"then"),
        (b"Server", b"mine"), (b"X-Runpod-Worker-Id", b"lie"), (b"Connection", b"X-Hop"), (b"X-Hop", b"1"),
    ]  # fmt: skip
    assert to_client(raw, "w1") == [
        (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"server", b"mine"), (b"x-runpod-worker-id", b"w1"),
    ]  # fmt: skip


def test_what_headers_say_of_the_body() -> None:
    assert has_body([(b"content-length", b"1")])
    assert has_body([(b"transfer-encoding", b"chunked")])
    assert not has_body([(b"content-length", b"0")])
    assert not has_body([])
    assert declared_size([(b"Content-Length", b"12")]) == 12
    assert declared_size([(b"content-length", b"many")]) == 0
    assert expects_continue([(b"expect", b"100-Continue")])
    assert not expects_continue([])


@given(st.lists(st.tuples(TOKENS, VALUES), max_size=8))
def test_headers_of_the_users_own_are_neither_lost_nor_changed(headers: list[tuple[bytes, bytes]]) -> None:
    own = [(b"x-own-" + name, value) for name, value in headers]
    assert [pair for pair in sent(*own) if pair[0].startswith("x-own-")] == [
        (name.decode(), value.decode()) for name, value in own
    ]
    assert to_client(own, "w")[:-1] == own
