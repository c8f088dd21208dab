"""HTTP requests as users make them, and what their answers become."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.errors import CallError
from runpod_flash.web import ANSWER_S, WebAnswer, as_json, request, seconds


def test_a_request_in_full() -> None:
    made = request("POST", "/a b?x=1", {"n": 1}, headers={"X-A": "b"}, params={"y": [1, True], "z": "&"}, timeout=3)
    assert (made.method, made.target) == ("POST", "/a%20b?x=1&y=1&y=true&z=%26")
    assert (made.body, made.timeout_s) == (b'{"n":1}', 3.0)
    assert made.headers == {"X-A": "b", "Content-Type": "application/json"}
    assert str(made) == "POST /a%20b"


def test_the_least() -> None:
    made = request("GET", "/")
    assert (made.target, made.body, made.headers, made.timeout_s) == ("/", None, {}, ANSWER_S)
    assert made.is_safe
    assert not request("POST", "/").is_safe
    assert request("GET", "/", timeout=None).timeout_s is None


@pytest.mark.parametrize(
    ("options", "body", "kind"),
    [
        ({"data": b"raw"}, b"raw", "application/octet-stream"),
        ({"data": bytearray(b"raw")}, b"raw", "application/octet-stream"),
        ({"data": [1, None]}, b"[1,null]", "application/json"),
        ({"data": "text"}, b'"text"', "application/json"),
        ({"json": {"a": "é"}}, b'{"a":"\\u00e9"}', "application/json"),
        ({"data": b"x", "headers": {"content-type": "image/png"}}, b"x", None),
        ({}, None, None),
    ],
)
def test_bodies(options: dict[str, Any], body: bytes | None, kind: str | None) -> None:
    made = request("POST", "/x", **options)
    assert made.body == body
    assert made.headers.get("Content-Type") == kind


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("x", {}, r"path of post\(\) is 'x'; it must be a text that begins with '/'; did you mean '/x'\?"),
        ("http://host/x", {}, "begins with '/'$"),
        (3, {}, "path of"),
        ("/x", {"data": {1, 2}}, "data= cannot be sent as JSON: .*set"),
        ("/x", {"json": object()}, "json= cannot be sent as JSON"),
        ("/x", {"json": b"raw"}, "json= cannot be sent as JSON: .*bytes"),
        ("/x", {"data": float("nan")}, "finite numbers"),
        ("/x", {"data": 1, "json": 2}, "both data= and json="),
        ("/x", {"params": "a=1"}, "params= is 'a=1'; it must be a dict"),
        ("/x", {"params": {"a": None}}, "params= has 'a': None"),
        ("/x", {"headers": ["a"]}, "headers= is"),
        ("/x", {"headers": {"a b": "c"}}, "headers= has the name 'a b'"),
        ("/x", {"headers": {"a": "b\nc"}}, "headers= gives 'a' a value"),
        ("/x", {"headers": {"a": 1}}, "headers= gives 'a' a value"),
        ("/x", {"timeout": 0}, "timeout= is 0; it must be a number of seconds, more than 0, or None"),
        ("/x", {"timeout": "5"}, "timeout= is '5'"),
        ("/x", {"timeout": True}, "timeout= is True"),
        ("/x", {"timeout": float("inf")}, "timeout= is inf"),
    ],
)
def test_a_wrong_request_is_refused_before_it_is_sent(path: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(CallError, match=words):
        request("POST", path, **options)


def test_a_body_in_a_circle() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(CallError):
        as_json("it", circle)


def test_seconds_of_at_least_one() -> None:
    assert seconds("timeout", 1, 1.0) == 1.0
    with pytest.raises(CallError, match="1 or more"):
        seconds("timeout", 0.5, 1.0)


@given(st.text(st.characters()).map(lambda text: "/" + text), st.dictionaries(st.text(), st.text()))
def test_any_path_and_query_is_plain_ascii_without_spaces(path: str, params: dict[str, str]) -> None:
    try:
        target = request("GET", path, params=params).target
    except CallError:
        assert any(0xD800 <= ord(sign) < 0xE000 for sign in path + "".join([*params, *params.values()]))
        return
    assert target.isascii()
    assert target.startswith("/")
    assert not set(target) & set(' \r\n"<>\\^`{|}#')


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/problem+json; charset=utf-8", b"[]", []),
        ("application/json", b"not json", "not json"),
        ("text/plain", "é".encode(), "é"),
        ("text/html; charset=latin-1", b"\xe9", "é"),
        ("text/plain; charset=no-such", b"a", "a"),
        ("image/png", b"\x89", b"\x89"),
        ("", b"x", b"x"),
        ("application/json", b"", None),
    ],
)
def test_values(kind: str, body: bytes, value: Any) -> None:
    assert WebAnswer(200, {"content-type": kind} if kind else {}, body).value() == value


def test_good_or_not() -> None:
    assert [WebAnswer(status, {}, b"").is_good for status in (199, 200, 204, 299, 300, 404, 500)] == [
        False, True, True, True, False, False, False,
    ]  # fmt: skip
