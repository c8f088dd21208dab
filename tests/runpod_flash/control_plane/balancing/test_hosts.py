"""How a request names its endpoint."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.balancing.hosts import first_label, raw_path, split_path
from tests.support.balanced import ENDPOINT, Balanced, Recorder, serving

RAW = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="?"), max_size=30).map(
    str.encode
)


@pytest.mark.parametrize(
    ("host", "label"),
    [
        (b"abc123.localhost:8000", "abc123"),
        (b"ABC123.my.domain", "abc123"),
        (b"localhost", None),
        (b"localhost:80", None),
        (b"[::1]:80", None),
        (b"127.0.0.1", "127"),
        (b"", None),
        (b".x", ""),
    ],
)
def test_the_first_label_of_a_host(host: bytes, label: str | None) -> None:
    assert first_label(host) == label


@pytest.mark.parametrize(
    ("raw", "split"),
    [
        (b"/lb/abc/x/y", ("abc", b"/x/y")),
        (b"/lb/abc/", ("abc", b"/")),
        (b"/lb/abc", ("abc", b"/")),
        (b"/lb/", ("", b"/")),
        (b"/lb", ("", b"/")),
        (b"/lb/a%62c//x", ("abc", b"//x")),
        (b"/lb/abc%2F..%2Fx/y", ("abc/../x", b"/y")),
        (b"/lb/abc/..%2f%2e%2e/../x", ("abc", b"/..%2f%2e%2e/../x")),
    ],
)
def test_a_path_is_split(raw: bytes, split: tuple[str, bytes]) -> None:
    assert split_path(raw) == split


@given(RAW)
def test_the_rest_of_a_path_is_not_touched(rest: bytes) -> None:
    assert split_path(b"/lb/abc/" + rest) == ("abc", b"/" + rest)


def test_a_server_that_does_not_give_the_raw_path() -> None:
    scope: dict[str, Any] = {"path": "/lb/abc/a b"}
    assert raw_path(scope) == quote(scope["path"]).encode()


@pytest.mark.anyio
async def test_by_host_the_whole_path_goes_to_the_worker(plane: Balanced) -> None:
    recorder = Recorder()
    async with serving(recorder) as port:
        plane.add("w1", port)
        for path in ("/", "/lb/other/x", "/a/b?c=d"):
            headers = {"Host": f"{ENDPOINT}.localhost:1"}
            async with plane.client.get(f"http://127.0.0.1:{plane.port}{path}", headers=headers) as response:
                assert await response.text() == "w1"
        url = f"ws://127.0.0.1:{plane.port}/x"
        async with plane.client.get(url.replace("ws", "http", 1), headers={"Host": "other.localhost"}) as response:
            assert await response.text() == "the normal app"
        async with plane.client.get(plane.url("/z")) as response:
            assert response.headers["x-runpod-worker-id"] == "w1"
    assert [scope["raw_path"] for scope in recorder.scopes] == [b"/", b"/lb/other/x", b"/a/b", b"/z"]
    assert recorder.headers(0)["host"] == f"{ENDPOINT}.localhost:1"


@pytest.mark.anyio
async def test_an_endpoint_that_is_none_is_told_as_a_problem(plane: Balanced) -> None:
    async with plane.client.get(f"http://127.0.0.1:{plane.port}/lb/nobody/x") as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")
        assert (await response.json(content_type=None))["code"] == "EndpointNotFound"
