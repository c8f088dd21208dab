"""Which headers cross the dev server."""

from flash_cli.dev import headers


def test_what_is_of_one_connection_stays_and_so_does_the_clients_key() -> None:
    came = [
        (b"host", b"localhost:8888"),
        (b"authorization", b"Bearer mine"),
        (b"connection", b"keep-alive, X-Hop"),
        (b"x-hop", b"1"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"x-text", "ä".encode()),
        (b"content-length", b"3"),
        (b"x-flash-client", b"of somebody"),
    ]
    assert headers.to_target(came, [("X-Flash-Client", "ours")]) == [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-text", "ä"),
        ("content-length", "3"),
        ("X-Flash-Client", "ours"),
    ]


def test_chunks_count_where_a_length_is_said_too() -> None:
    both = [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")]
    assert headers.to_target(both, []) == []
    assert headers.has_body(both)
    assert not headers.has_body([(b"content-length", b"0")])
    assert not headers.has_body([])


def test_the_client_sees_what_came_but_for_the_connection() -> None:
    came = [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), (b"Transfer-Encoding", b"chunked"), (b"Date", b"now")]
    assert headers.to_client(came) == [(b"set-cookie", b"a"), (b"set-cookie", b"b")]
