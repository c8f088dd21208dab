"""Requests of routes that are asked often."""

import pytest
from starlette.datastructures import QueryParams
from starlette.types import Message

from runpod_flash.control_plane.api.asked import Asked


async def nothing() -> Message:
    raise AssertionError


@pytest.mark.parametrize(
    "query",
    ["", "wait=1000", "wait=", "wait", "=1", "other=1", "wait=1&wait=2", "wait=%31", "wait=1+2", "w%61it=1", "a&wait=3",
     "wait==1"],
)  # fmt: skip
def test_a_parameter_is_read_as_starlette_does(query: str) -> None:
    asked = Asked({"type": "http", "query_string": query.encode()}, nothing, "e")
    assert asked.query("wait") == QueryParams(query).get("wait")
