"""Reading what clients send: JSON objects of limited size, and their fields."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from runpod_flash.control_plane.api.asked import Scoped
from runpod_flash.control_plane.problems import Problem
from runpod_flash.errors import PayloadTooLarge
from worker_runtime.wire import plain_json

ID_LIMIT = 255
"""The longest id or key, in characters."""

BODY_S = 60.0
"""How long a body may take to arrive, in seconds."""

_SWALLOWED = 64 * 1024**2
_AN_ID = f"a text of 1 to {ID_LIMIT} characters"


class Bodied(Protocol):
    """A request with a body."""

    @property
    def receive(self) -> Receive: ...


async def json_object(request: Bodied, limit: int, seconds: float = BODY_S) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        PayloadTooLarge: it has more than `limit` bytes.
        Problem: 400, it is no JSON object; 408, it did not arrive within so many `seconds`.
        ClientDisconnect: the client has left before it was there.
    """
    return object_of(await read_body(request, limit, seconds))


def object_of(data: bytes) -> dict[str, Any]:
    """Bytes as a JSON object. Raises Problem: 400, they are none."""
    try:
        encoding = "utf-8" if data.startswith(_USUAL) else json.detect_encoding(data)
        body = plain_json.decode(data.decode(encoding, "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the request is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise Problem(400, "the request is no JSON object")
    return body


async def read_body(request: Bodied, limit: int, seconds: float = BODY_S) -> bytes:
    """The body.

    Raises:
        PayloadTooLarge: it has more than `limit` bytes.
        Problem: 408, it did not arrive within so many `seconds`.
        ClientDisconnect: the client has left before it was there.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _body(request.receive, limit)
    except TimeoutError:
        raise Problem(408, f"the request did not arrive within {seconds:g} s") from None


async def _body(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif size > limit + _SWALLOWED:  # up to there the rest is read, so that the client gets round to our answer
            break
    check_size(size, limit)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def check_size(size: int, limit: int) -> None:
    """Raise PayloadTooLarge where a body is longer than it may be."""
    if size > limit:
        raise PayloadTooLarge(f"the request has more than {limit} bytes, the most that is taken here")


async def swallow(stream: AsyncIterator[bytes]) -> None:
    """Read the rest of a body that is refused, if it is not too much, so that the client gets round to our answer."""
    size = 0
    with contextlib.suppress(ClientDisconnect):
        async for chunk in stream:
            size += len(chunk)
            if size > _SWALLOWED:
                return


def header(connection: Scoped, name: str) -> str | None:
    """A header of a request, None where it is absent or empty. Raises Problem: 400, it is too long for an id."""
    wanted = name.lower().encode("latin-1")
    for key, value in connection.scope["headers"]:
        if key == wanted:
            if len(value) > ID_LIMIT:
                raise Problem(400, f"header {name} has {len(value)} characters; at most {ID_LIMIT} are allowed")
            return bytes(value).decode("latin-1") or None
    return None


def text_field(body: Mapping[str, Any], name: str) -> str:
    """A field of a body that holds an id. Raises Problem: 400, it does not."""
    if name not in body:
        raise Problem(400, f"field '{name}' is missing; it must be {_AN_ID}")
    value = body[name]
    if not _is_id(value):
        raise Problem(400, f"field '{name}' is {value!r:.80}; it must be {_AN_ID}")
    return str(value)


def texts_field(body: Mapping[str, Any], name: str, most: int) -> list[str]:
    """A field of a body that holds a list of ids, each once, in their order. Raises Problem: 400, it does not."""
    allowed = f"it must be a list of 1 to {most} ids, each {_AN_ID}"
    if name not in body:
        raise Problem(400, f"field '{name}' is missing; {allowed}")
    value = body[name]
    if not isinstance(value, list):
        raise Problem(400, f"field '{name}' is {value!r:.80}; {allowed}")
    if not 1 <= len(value) <= most:
        raise Problem(400, f"field '{name}' has {len(value)} items; {allowed}")
    for number, item in enumerate(value):
        if not _is_id(item):
            raise Problem(400, f"field '{name}' has {item!r:.80} as item {number}; {allowed}")
    return list(dict.fromkeys(value))


def flag_field(body: Mapping[str, Any], name: str) -> bool:
    """A field of a body that is true or false, or absent: false. Raises Problem: 400, it is something else."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Problem(400, f"field '{name}' is {value!r:.80}; it must be true or false")
    return value


def whole_field(body: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """A field of a body that holds a whole number. Raises Problem: 400, it does not, or is out of these bounds."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Problem(400, f"field '{name}' is {value!r:.80}; it must be a whole number, {least} to {most}")
    return value


def _is_id(value: object) -> bool:
    if not isinstance(value, str) or not 1 <= len(value) <= ID_LIMIT:
        return False
    return value == value.encode(errors="ignore").decode()  # JSON can hold halves of characters


_USUAL: Final = b'{"'  # whatever is not UTF-8 begins in another way
