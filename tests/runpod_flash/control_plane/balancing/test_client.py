"""The HTTP client towards workers."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.balancing.client import Client, worker_url
from tests.support.balanced import Recorder, raw_server, serving

TARGET = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="?"), max_size=40).map(
    str.encode
)


@given(TARGET, st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40).map(str.encode))
def test_paths_and_queries_stay_byte_for_byte(rest: bytes, query: bytes) -> None:
    url = worker_url(8000, b"/" + rest, query)
    assert (url.scheme, url.host, url.port) == ("http", "127.0.0.1", 8000)
    assert url.raw_path_qs.encode() == b"/" + rest + (b"?" + query if query else b"")


@pytest.mark.anyio
async def test_the_status_of_a_url_or_none() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    client = Client()
    recorder = Recorder()
    async with serving(recorder) as port, raw_server(silent) as mute:
        assert await client.status(f"http://127.0.0.1:{port}/ping?x", 5) == 200
        assert await client.status(f"http://127.0.0.1:{mute}/ping", 0.1) is None
    assert await client.status(f"http://127.0.0.1:{port}/ping", 5) is None
    assert (recorder.scopes[0]["path"], recorder.scopes[0]["query_string"]) == ("/ping", b"x")
    await client.close()
