"""Which headers a program in the middle passes on."""

from runpod_flash.headers import back, has_body, onward, text_of, value_of


def test_what_is_of_one_connection_stays() -> None:
    came = [
        (b"host", b"h"), (b"connection", b"Close, X-Mine"), (b"connection", b"x-other"), (b"x-mine", b"1"),
        (b"x-other", b"2"),
        (b"te", b"trailers"), (b"sec-websocket-key", b"k"), (b"x", b"a"), (b"x", b"\xc3\xbc"), (b"secret", b"s"),
    ]  # fmt: skip
    assert onward(came, frozenset({b"secret"})) == [("host", "h"), ("x", "a"), ("x", "ü")]


def test_a_body_has_one_length() -> None:
    length, chunks = (b"content-length", b"5"), (b"transfer-encoding", b"chunked")
    assert onward([length], frozenset()) == [("content-length", "5")]
    assert onward([length, chunks], frozenset()) == []


def test_an_answer_goes_back_with_names_in_lower_case() -> None:
    came = [
        (b"Set-Cookie", b"a"),
        (b"Set-Cookie", b"b"),
        (b"Keep-Alive", b"5"),
        (b"Connection", b"x"),
        (b"X", b"1"),
        (b"Date", b"d"),
    ]
    assert back(came, frozenset({b"date"})) == [(b"set-cookie", b"a"), (b"set-cookie", b"b")]


def test_whether_there_is_a_body() -> None:
    assert [has_body([(b"content-length", text)]) for text in (b"0", b"1")] == [False, True]
    assert has_body([(b"transfer-encoding", b"chunked")])
    assert not has_body([])


def test_values_and_texts() -> None:
    assert value_of([(b"X", b"a"), (b"y", b"c"), (b"x", b"b")], b"x") == b"a, b"
    assert [text_of(value) for value in ("ü".encode(), b"\xfc")] == ["ü", "ü"]
