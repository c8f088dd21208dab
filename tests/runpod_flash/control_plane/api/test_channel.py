"""The socket for frames: who may come, what is answered, and what becomes of nonsense."""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.api.access import Access
from runpod_flash.control_plane.api.channel import ChannelServer
from runpod_flash.control_plane.api.conversation import Conversations
from runpod_flash.control_plane.groups import Written
from runpod_flash.control_plane.keys import Keyring
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.platform import Accepting
from runpod_flash.control_plane.principals import Scope
from runpod_flash.control_plane.rates import Rates
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.store import StoreFull
from runpod_flash.control_plane.views import job_object
from runpod_flash.errors import NotPortable
from tests.support.plane_app import BODY, KEY, PlaneApp
from tests.support.waiting import wait_until
from worker_runtime.wire import calls, frames
from worker_runtime.wire.calls import Pattern
from worker_runtime.wire.jobs import Call, JobStatus, Payload

pytestmark = pytest.mark.anyio

NOTHING = Payload.inlined(b"")
MISSING = Payload(sha256="b" * 64, size=10**6)


@dataclass
class Client:
    """One connection to the socket, by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    splitter: frames.Splitter = field(default_factory=frames.Splitter)
    heard: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)

    def say(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.writer.writelines(frames.encode(header, body))

    def submit(self, endpoint: str, sent: Sequence[tuple[str, Payload]], **how: Any) -> None:
        how = {"fresh": True, "later": False, **how}
        self.writer.writelines(Pattern(endpoint, Call("a" * 64, NOTHING), {}).frames(sent, **how))

    async def next(self) -> tuple[dict[str, Any], bytes]:
        """The next frame. Raises EOFError at the end."""
        while not self.heard:
            data = await asyncio.wait_for(self.reader.read(65536), 10)
            if not data:
                raise EOFError
            self.heard += [(header, bytes(body)) for header, body in self.splitter.feed(data)]
        return self.heard.pop(0)

    async def is_refused(self, *said: str) -> None:
        """It is told why, and closed."""
        header, _ = await self.next()
        assert (header["type"], header["keys"]) == ("refused", [])
        assert all(text in header["problem"]["detail"] for text in said), header
        with pytest.raises(EOFError):
            await self.next()


@dataclass
class Scene:
    plane: PlaneApp
    server: ChannelServer
    path: Path
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        """A client that has said nothing yet."""
        client = Client(*await asyncio.open_unix_connection(str(self.path)))
        self.clients.append(client)
        return client

    async def greeted(self, key: str = KEY, name: str = "c") -> Client:
        client = await self.connect()
        client.say(calls.hello(key, name))
        welcome, _ = await client.next()
        assert (welcome["type"], welcome["protocol"]) == ("welcome", 1)
        return client


@pytest.fixture
async def scene(plane: PlaneApp, tmp_path: Path) -> AsyncIterator[Scene]:
    limits = Limits()
    conversations = Conversations(plane.platform, Access(plane.catalog), limits, Rates(limits))
    identify = Keyring(KEY, lambda: plane.workers, plane.keys).principal
    server = ChannelServer(conversations, plane.hub, identify, lambda principal: {"protocol": 1})
    path = tmp_path / "calls.sock"
    await server.start(path)
    scene = Scene(plane, server, path)
    yield scene
    await server.close()
    for client in scene.clients:
        client.writer.close()
        with contextlib.suppress(OSError):
            await client.writer.wait_closed()
    assert not path.exists()


def payload(data: bytes) -> Payload:
    return Payload.inlined(data)


async def test_calls_come_in_and_what_happens_goes_out_in_its_order(scene: Scene) -> None:
    endpoint = await scene.plane.endpoint()
    client = await scene.greeted()
    client.submit(endpoint, [("k0", payload(b"zero")), ("k1", payload(b"one"))])
    header, _ = await client.next()
    assert header == {"type": "accepted", "jobs": [["k0", "job-0"], ["k1", "job-1"]]}
    job = scene.plane.platform.jobs["job-1"]
    assert isinstance(job.input, Call)
    assert job.input.arguments.inline == b"one"
    assert scene.plane.platform.came_with["job-1"]["client"] == "c"
    done = JobRecord("job-1", endpoint, {}, 1.0, JobStatus.COMPLETED, output=payload(b"value"), idempotency_key="k1")
    scene.plane.hub.publish("c", {"event": "log", "lines": ["before"]})
    scene.plane.hub.ended("c", done, job_object)
    assert (await client.next())[0]["events"] == [{"event": "log", "lines": ["before"]}]
    header, body = await client.next()
    assert ([entry[:3] for entry in header["jobs"]], body) == ([["k1", "job-1", 5]], b"value")


async def test_the_socket_is_this_users_alone(scene: Scene) -> None:
    assert stat.S_IMODE(os.stat(scene.path).st_mode) == 0o600


async def test_acceptance_that_may_wait_is_told_by_itself_after_a_moment(scene: Scene) -> None:
    endpoint = await scene.plane.endpoint()
    client = await scene.greeted()
    client.submit(endpoint, [("k", payload(b"x"))], later=True)
    assert (await client.next())[0] == {"type": "accepted", "jobs": [["k", "job-0"]]}


@pytest.mark.parametrize("error", [None, StoreFull("no room")])
async def test_calls_that_only_wait_for_their_commit_are_answered_after_it(
    scene: Scene, error: StoreFull | None
) -> None:
    endpoint, written = await scene.plane.endpoint(), Written()
    outcomes = {"a": JobRecord("j", endpoint, {}, 1.0), "b": NotPortable("a pickle")}
    scene.plane.platform.at_once = Accepting(outcomes, written)
    client = await scene.greeted()
    client.submit(endpoint, [("a", payload(b"x")), ("b", payload(b"y"))])
    client.say({"type": calls.WATCH, "jobs": ["none"]})
    assert (await client.next())[0] == {"type": "unknown", "jobs": ["none"]}, "what came later was answered before"
    written.resolve(error)
    header, _ = await client.next()
    if error is None:
        assert header == {"type": "accepted", "jobs": [["a", "j"]]}
        header, _ = await client.next()
        assert (header["type"], header["keys"], header["problem"]["code"]) == ("refused", ["b"], "NotPortable")
    else:
        assert (header["type"], header["keys"], header["problem"]["detail"]) == ("refused", ["a", "b"], "no room")


async def test_one_bad_call_is_refused_and_the_others_run(scene: Scene) -> None:
    endpoint = await scene.plane.endpoint()
    scene.plane.platform.missing.add(str(MISSING.sha256))
    client = await scene.greeted()
    sent = [(f"k{number}", MISSING if number == 777 else payload(b"x")) for number in range(2001)]
    client.submit(endpoint, sent)
    accepted, refused = list[str](), list[str]()
    while len(accepted) + len(refused) < len(sent):
        header, _ = await client.next()
        if header["type"] == "refused":
            assert header["problem"]["code"] == "ContentNotFound"
            refused += header["keys"]
        else:
            accepted += [key for key, _ in header["jobs"]]
    assert refused == ["k777"]
    assert sorted(accepted) == sorted({key for key, _ in sent} - {"k777"})


async def test_an_endpoint_that_is_none_or_of_somebody_else_is_not_there(scene: Scene) -> None:
    foreign = (await scene.plane.catalog.create("", BODY, "bob")).id
    _, key = await scene.plane.keys.create("alice")
    client = await scene.greeted(key)
    for endpoint in (foreign, "gone"):
        client.submit(endpoint, [("k", payload(b"x"))])
        header, _ = await client.next()
        assert (header["keys"], header["problem"]["status"]) == (["k"], 404)
        assert header["problem"]["code"] == "EndpointNotFound"
    assert not scene.plane.platform.jobs


async def test_watching_and_cancelling(scene: Scene) -> None:
    endpoint = await scene.plane.endpoint()
    client = await scene.greeted()
    client.submit(endpoint, [("k0", payload(b"x")), ("k1", payload(b"x"))])
    await client.next()
    await scene.plane.platform.end("job-0", JobStatus.COMPLETED, payload(b"value"))
    client.say({"type": "watch", "jobs": ["job-0", "job-1", "none"]})
    header, body = await client.next()
    assert (header["jobs"][0][:2], body) == (["k0", "job-0"], b"value")
    assert (await client.next())[0] == {"type": "unknown", "jobs": ["none"]}
    assert scene.plane.platform.watched == {"job-1": "c"}
    client.say({"type": "cancel", "jobs": ["job-1", "none"]})
    assert (await client.next())[0] == {"type": "unknown", "jobs": ["none"]}
    assert scene.plane.platform.called_off == ["job-1"]


async def test_a_key_that_may_not_run_jobs_is_told_so(scene: Scene) -> None:
    endpoint = (await scene.plane.catalog.create("", BODY, "alice")).id
    _, key = await scene.plane.keys.create("alice", scope=Scope.READ_ONLY)
    client = await scene.greeted(key)
    client.submit(endpoint, [("k", payload(b"x"))])
    assert (await client.next())[0]["problem"]["status"] == 403


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (calls.hello("wrong", "c"), "invalid api key"),
        ({**calls.hello(KEY, "c"), "protocol": 99}, "protocol 99"),
        (calls.hello(KEY, ""), "a client's id is ''"),
        (calls.hello(KEY, "alice/c"), "without '/'"),
        ({"type": "submit"}, "instead of hello"),
        ({"type": "hello", "protocol": 1}, "field 'key' is missing"),
    ],
)
async def test_who_does_not_say_hello_rightly_is_told_why_and_closed(scene: Scene, header: Any, said: str) -> None:
    client = await scene.connect()
    client.say(header)
    await client.is_refused(said)
    assert scene.plane.hub.clients == frozenset()


async def test_the_key_is_in_no_answer(scene: Scene) -> None:
    client = await scene.connect()
    client.say({"type": "hallo", "protocol": 1, "key": KEY})
    header, _ = await client.next()
    assert KEY not in str(header)


async def test_nonsense_ends_the_channel_and_nobody_elses(scene: Scene) -> None:
    other = await scene.greeted(name="other")
    for data, said in (
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "does not speak this protocol"),
        (b"".join(frames.encode({"type": "submit"})), "field 'call' is missing"),
        (b"".join(frames.pieces(b"no json", [])), "not JSON"),
        (b"\0\0\0\2\0\0\0\0\x7f\xff\xff\xff{}", "does not speak this protocol"),
    ):
        client = await scene.greeted(name="wild")
        client.writer.write(data)
        await client.is_refused(said)
    other.submit(await scene.plane.endpoint(), [("k", payload(b"x"))])
    assert (await other.next())[0]["type"] == "accepted"
    assert scene.plane.hub.clients == {"other"}


async def test_frames_of_a_type_that_is_not_known_are_left_alone(scene: Scene) -> None:
    client = await scene.greeted()
    client.say({"type": "of the future"}, b"body")
    client.submit(await scene.plane.endpoint(), [("k", payload(b"x"))])
    assert (await client.next())[0]["type"] == "accepted"


async def test_a_client_that_goes_in_the_middle_of_a_frame_is_forgotten(scene: Scene) -> None:
    endpoint = await scene.plane.endpoint()
    client = await scene.greeted()
    data = b"".join(
        Pattern(endpoint, Call("a", NOTHING), {}).frames([("k", payload(bytes(9000)))], fresh=True, later=True)
    )
    client.writer.write(data[:5000])
    await client.writer.drain()
    client.writer.close()
    await asyncio.to_thread(wait_until, lambda: not scene.plane.hub.clients)
    assert not scene.plane.platform.jobs


async def test_another_channel_of_the_same_client_takes_the_place_of_the_first(scene: Scene) -> None:
    first = await scene.greeted()
    second = await scene.greeted()
    with pytest.raises(EOFError):
        await first.next()
    scene.plane.hub.publish("c", {"event": "stage"})
    assert (await second.next())[0]["events"] == [{"event": "stage"}]
    assert scene.plane.hub.clients == {"c"}


async def test_a_client_that_does_not_read_is_cut_off(scene: Scene) -> None:
    scene.plane.hub._jobs_limit = 10**6
    client = await scene.greeted()
    value = payload(bytes(200_000))
    for number in range(30):
        record = JobRecord(f"j{number}", "e", {}, 1.0, JobStatus.COMPLETED, output=value)
        scene.plane.hub.ended("c", record, job_object)
        await asyncio.sleep(0)
    await asyncio.to_thread(wait_until, lambda: not scene.plane.hub.clients)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            await client.next()
    again = await scene.greeted()
    scene.plane.hub.publish("c", {"event": "stage"})
    assert (await again.next())[0]["events"] == [{"event": "stage"}]


async def test_the_end_of_the_control_plane_ends_channels_after_their_last_words(scene: Scene) -> None:
    client = await scene.greeted()
    scene.plane.hub.publish("c", {"event": "stage"})
    scene.plane.hub.close()
    assert (await client.next())[0]["events"] == [{"event": "stage"}]
    with pytest.raises(EOFError):
        await client.next()
    late = await scene.connect()
    late.say(calls.hello(KEY, "late"))
    assert (await late.next())[0]["type"] == "welcome"
    with pytest.raises(EOFError):
        await late.next()
