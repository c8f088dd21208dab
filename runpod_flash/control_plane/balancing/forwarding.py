"""One HTTP request goes to a worker and its answer comes back, both in parts as they come."""

import asyncio
from typing import Final

import aiohttp
from starlette.types import Scope

from runpod_flash.control_plane.balancing import headers
from runpod_flash.control_plane.balancing.client import FAULTS, Client, NotReached, worker_url
from runpod_flash.control_plane.balancing.inbound import Inbound
from runpod_flash.control_plane.balancing.picking import Upstream
from runpod_flash.control_plane.balancing.reply import Reply
from runpod_flash.control_plane.balancing.sockets import Sockets
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.problems import Problem


class Forwarding:
    """The way to workers, for requests and for websockets."""

    def __init__(self) -> None:
        self.client: Final = Client()
        self.sockets: Final = Sockets(self.client)

    async def forward(
        self, scope: Scope, inbound: Inbound, reply: Reply, worker: Upstream, path: bytes, limits: Limits
    ) -> bool:
        """Forward a request. What goes wrong becomes the reply: 502, 504, or 408 and 413 for the request's own body.

        False: nobody is there who has read it, and there is no reply yet.
        """
        try:
            async with asyncio.timeout(limits.balanced_s):
                await self._exchange(scope, inbound, reply, worker, path, limits)
        except NotReached:
            return False
        except TimeoutError:
            await reply.fail(_too_slow(scope, inbound, limits))
        except FAULTS as error:
            if inbound.gone.is_set():
                return True
            if inbound.too_large:
                await reply.too_large(inbound, limits)
            else:
                await reply.fail(Problem(502, f"the worker did not answer as HTTP wants it: {error or type(error)}"))
        except Problem as problem:
            await reply.fail(problem)
        return True

    async def _exchange(
        self, scope: Scope, inbound: Inbound, reply: Reply, worker: Upstream, path: bytes, limits: Limits
    ) -> None:
        body = inbound if headers.has_body(scope["headers"]) else None
        url = worker_url(worker.port, path, scope["query_string"])
        sent = headers.to_worker(scope)
        async with self.client.request(scope["method"], url, sent, body, keep=worker.keeps) as answer:
            if not 200 <= answer.status < 600:
                raise Problem(502, f"the worker answered with status {answer.status}, which no request can end with")
            if scope["method"] != "HEAD" and headers.declared_size(answer.raw_headers) > limits.balanced_bytes:
                raise _answer_too_large(limits)
            await reply.start(answer.status, headers.to_client(answer.raw_headers, worker.id))
            await _relay(answer, reply, limits)


async def _relay(answer: aiohttp.ClientResponse, reply: Reply, limits: Limits) -> None:
    size = 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > limits.balanced_bytes:
            raise _answer_too_large(limits)
        await reply.part(part)
    await reply.part(b"", more=False)


def _answer_too_large(limits: Limits) -> Problem:
    return Problem(502, f"the answer has more than {limits.balanced_bytes} bytes, the most that is passed on")


def _too_slow(scope: Scope, inbound: Inbound, limits: Limits) -> Problem:
    if headers.has_body(scope["headers"]) and not inbound.complete:
        return Problem(408, f"the request did not arrive within {limits.balanced_s:g} s")
    return Problem(504, f"the worker did not finish its answer within {limits.balanced_s:g} s")
