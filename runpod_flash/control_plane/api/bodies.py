"""Reading what clients send: JSON objects of limited size."""

import json
from typing import Any, NoReturn

from starlette.requests import Request

from runpod_flash.control_plane.problems import Problem
from runpod_flash.errors import PayloadTooLarge

_SWALLOWED = 64 * 1024**2


async def json_object(request: Request, limit: int) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        PayloadTooLarge: it has more than `limit` bytes.
        Problem: 400, it is no JSON object.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif size > limit + _SWALLOWED:  # up to there the rest is read, so that the client gets round to our answer
            break
    if size > limit:
        raise PayloadTooLarge(f"the request has more than {limit} bytes, the most that is taken here")
    try:
        body = json.loads(b"".join(chunks), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the request is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise Problem(400, "the request is no JSON object")
    return body


def header(request: Request, name: str) -> str | None:
    """A header of a request, None where it is absent or empty. Raises Problem: 400, it is too long for an id."""
    value = request.headers.get(name) or None
    if value is not None and len(value) > 255:
        raise Problem(400, f"header {name} has {len(value)} characters; at most 255 are allowed")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed in JSON")
