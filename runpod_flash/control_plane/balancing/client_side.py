"""The client's end of a websocket, as ASGI gives it."""

import asyncio
from dataclasses import dataclass

from starlette.types import Message, Receive, Send


@dataclass(frozen=True, slots=True)
class ClientSide:
    """A client whose websocket is accepted next. `first` is the message that it sends then."""

    first: "asyncio.Future[Message]"
    receive: Receive
    send: Send
