"""How a connection speaks frames: on a socket, or in requests with the answers' rest on the event stream."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from runpod_flash.backends import channel as channels
from runpod_flash.backends.conversation import Conversation
from runpod_flash.backends.posts import Posts
from runpod_flash.errors import FlashError
from worker_runtime.wire import calls, frames
from worker_runtime.wire.calls import Buffer
from worker_runtime.wire.frames import Header

Welcomed = Callable[[Header], None]
"""Hears the platform's welcome. Raises a FlashError where that is of another version."""

Refusal = Callable[[int, bytes, str], FlashError]
"""The error that a refusal means: its status, its problem document, and of what it is."""


async def on_socket(
    path: str,
    key: str,
    client: str,
    conversation: Conversation,
    welcomed: Welcomed,
    refusal: Refusal,
    farewell: Callable[[], Awaitable[None]],
) -> Exception | None:
    """Speak on a socket until that ends; gives the reason, where there is one.

    `farewell` is waited for before the socket is closed because the event loop ends.

    Raises:
        OSError: nobody is there.
    """
    greeted = False

    def take(header: Header, body: Buffer) -> None:
        nonlocal greeted
        if header.get("type") == calls.WELCOME:
            welcomed(header)
            greeted = True
            conversation.up(channel)
        elif header.get("type") == calls.REFUSED and not header["keys"]:
            problem = header["problem"]
            raise refusal(problem["status"], json.dumps(problem).encode(), "what this client said")
        else:
            conversation.take(header, body)

    channel = await channels.connect(path, key, client, take)
    try:
        reason = await channel.lost
    except asyncio.CancelledError:
        await farewell()
        raise
    finally:
        channel.close()
    if greeted or isinstance(reason, FlashError):
        return reason
    raise ConnectionError("the channel was closed before it was open") from reason


def reader(conversation: Conversation, posts: Posts, welcomed: Welcomed) -> Callable[[bytes], None]:
    """Takes the bytes of an event stream in frames; calls go by `posts` once that has begun."""
    splitter = frames.Splitter()

    def feed(chunk: bytes) -> None:
        for header, body in splitter.feed(chunk):
            if header.get("type") == calls.WELCOME:
                welcomed(header)
                conversation.up(posts)
            else:
                conversation.take(header, body)

    return feed
