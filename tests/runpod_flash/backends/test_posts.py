"""The way over HTTP: one request for many calls, few at a time, and what is repeated is not fresh any more."""

import asyncio
from typing import Any

import pytest

from runpod_flash.backends import posts as posts_module
from runpod_flash.backends.posts import Posts
from runpod_flash.errors import BackendUnavailable
from tests.runpod_flash.backends.test_conversation import Scene, played
from worker_runtime.wire import frames
from worker_runtime.wire.calls import SubmitReader


class Server:
    """Takes bodies and answers when it is told to."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.let_go = asyncio.Event()
        self.failure: BackendUnavailable | None = None
        self.most = self.under_way = 0

    async def post(self, body: Any) -> bytes:
        self.bodies.append(body)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.let_go.wait()
        self.under_way -= 1
        if self.failure is not None:
            raise self.failure
        keys = [key for submit in self.read(body(0)) for key, _ in submit.jobs]
        return b"".join(frames.encode({"type": "accepted", "jobs": [[key, f"j{key}"] for key in keys]}))

    @staticmethod
    def read(data: bytes) -> list[Any]:
        reader = SubmitReader()
        return [reader.read(*frame) for frame in frames.Splitter().feed(data) if frame[0]["type"] == "submit"]


def scene_over(it: Scene) -> tuple[Server, Posts]:
    server = Server()
    posts = Posts(server.post, it.talk)
    it.talk.up(posts)
    return server, posts


@played
async def test_what_comes_while_requests_are_under_way_goes_together_in_the_next(it: Scene) -> None:
    server, _ = scene_over(it)
    calls = []
    for _ in range(10):
        calls += [it.call(submits_only=True) for _ in range(30)]
        await asyncio.sleep(0.001)
    assert len(server.bodies) == posts_module.AT_ONCE
    server.let_go.set()
    await asyncio.gather(*calls)
    assert len(server.bodies) <= posts_module.AT_ONCE + 1
    assert server.most == posts_module.AT_ONCE
    assert all(call.ticket.job_id == f"j{call.key}" for call in calls)


@played
async def test_a_repeated_request_says_that_its_keys_may_be_known(it: Scene) -> None:
    server, _ = scene_over(it)
    it.call()
    while not server.bodies:
        await asyncio.sleep(0)
    first, again = (server.read(server.bodies[0](attempt)) for attempt in (0, 1))
    assert (first[0].jobs, first[0].fresh, again[0].fresh) == (again[0].jobs, True, False)
    server.let_go.set()


@played
async def test_a_request_that_fails_is_an_error_of_its_calls(it: Scene) -> None:
    server, _ = scene_over(it)
    server.failure = BackendUnavailable("not there")
    server.let_go.set()
    with pytest.raises(BackendUnavailable, match="not there"):
        await it.call()


@played
async def test_other_frames_go_the_same_way_and_its_end_ends_what_is_under_way(it: Scene) -> None:
    server, posts = scene_over(it)
    posts.tell({"type": "watch", "jobs": ["j"]})
    while not server.bodies:
        await asyncio.sleep(0)
    assert frames.Splitter().feed(server.bodies[0](0)) == [({"type": "watch", "jobs": ["j"]}, b"")]
    posts.close()
    await asyncio.sleep(0.01)
    assert not posts._posting
