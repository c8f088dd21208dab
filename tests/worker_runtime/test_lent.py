"""A worker that is lent: a real parent and child, a scripted control plane, and a client that the test plays."""

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.worker_runtime.scripted_plane import Plane, by_name, by_value, is_error
from tests.worker_runtime.wire.test_arena_link import Plane as Memory
from worker_runtime.wire import direct, frames, messages, payload
from worker_runtime.wire.arena_link import ArenaLink
from worker_runtime.wire.ids import ordered_hex
from worker_runtime.wire.jobs import ErrorKind
from worker_runtime.wire.pieces import Pieces
from worker_runtime.wire.ranges import Range

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are lent on Linux alone")

Frame = tuple[dict[str, Any], bytes]


class Client:
    """Where a worker comes to. Use it as an asynchronous context manager: it is lent the plane's worker inside."""

    def __init__(
        self, plane: Plane, artifact: tuple[str, bytes], *, answer: str = "good", memory: bool = False
    ) -> None:
        self.plane, self.artifact, self.answer, self.memory = plane, artifact, answer, memory
        self.number, self.keys = 0, [""]
        self.loan = f"loan-{os.urandom(4).hex()}"
        self.splitter, self.heard = frames.Splitter(), list[Frame]()

    async def __aenter__(self) -> "Client":
        loop = asyncio.get_running_loop()
        address = f"flash-test-{os.urandom(8).hex()}"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.setblocking(False)
            listening.bind("\0" + address)
            listening.listen()
            lend = {"type": messages.LEND, "loan": self.loan, "address": address, "token": "who", "answer": "good"}
            name = await self.plane.ship(self.artifact)
            shared = {"memory": True} if self.memory else {}
            await self.plane.send({**lend, "worker": "w1", "call": {"artifact": name}, **shared})
            self.socket, _ = await asyncio.wait_for(loop.sock_accept(listening), 10)
        assert await self.next() == (
            {"type": "hello", "loan": self.loan, "token": "who", "worker": "w1", **shared},
            b"",
        )
        await self.say({"type": direct.WELCOME, "answer": self.answer})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.socket.close()

    async def next(self) -> Frame:
        """The next frame; one without a type where the worker has closed the line."""
        async with asyncio.timeout(10):
            while not self.heard:
                data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 18)
                self.heard += [(header, bytes(body)) for header, body in self.splitter.feed(data)]
                if not data:
                    self.heard.append(({"type": ""}, b""))
        return self.heard.pop(0)

    async def say(self, header: dict[str, Any], body: bytes = b"") -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, b"".join(frames.encode(header, body)))

    async def run(self, *args: Any) -> str:
        """Give it a call; gives the job's id."""
        self.number += 1
        self.keys.append(ordered_hex())
        key = self.keys[-1]
        await self.say({"type": direct.RUN, "number": self.number, "key": key}, payload.encode((args, {})))
        return direct.job_of(key)

    async def value(self, *args: Any) -> Any:
        """The value of a call, which is answered directly."""
        await self.run(*args)
        header, body = await self.next()
        assert header == {"type": direct.DONE, "number": self.number}
        return payload.decode(body)

    async def bye(self, last: int) -> None:
        """It says goodbye, and the control plane hears it, too."""
        assert await self.next() == ({"type": direct.BYE, "last": last}, b"")
        assert (await self.next())[0]["type"] == ""
        await self.plane.frame(messages.LOAN_OVER, loan=self.loan, last=last)


def recorded(plane: Plane) -> list[list[Any]]:
    """What the control plane was told of calls that were answered."""
    return [call for _, header, _ in plane.frames if header["type"] == messages.RECORDED for call in header["calls"]]


def main(folder: Path, body: Callable[[Plane, Client], Any], name: str, *, act: Any = None, **settings: Any) -> None:
    """Run a test with a worker that has run one call of a function and is lent for others."""
    artifact = by_name(name) if act is None else by_value(act)

    async def whole() -> None:
        async with Plane(folder, settings=settings) as plane:
            await plane.call(artifact, *(() if act is not None else (1,)))
            async with Client(plane, artifact) as client:
                await body(plane, client)

    asyncio.run(whole())


def test_calls_are_answered_and_recorded_some_at_a_time(short_folder: Path) -> None:
    async def body(plane: Plane, client: Client) -> None:
        for number in range(36):
            assert await client.value(number) == number
        for number in range(64):  # whoever does not wait is served, too
            await client.run(number)
        for number in range(64):
            header, data = await client.next()
            assert (header["number"], payload.decode(data)) == (37 + number, number)
        await plane.until(lambda: len(recorded(plane)) == 100, "records")
        calls = recorded(plane)
        assert [(number, key) for number, key, *_ in calls] == list(enumerate(client.keys))[1:]
        told = [(header, data) for _, header, data in plane.frames if header["type"] == messages.RECORDED]
        assert len(told) < 100
        assert max(len(header["calls"]) for header, _ in told) == 4  # as many as a kill may cost
        start, (header, data) = 0, told[-1]
        for _, _, taken, given, begun_at, took_us in header["calls"]:
            assert payload.decode(data[start : start + taken])[0] == (payload.decode(data[start + taken :][:given]),)
            start += taken + given
            assert begun_at > 1e9
            assert took_us >= 0
        assert start == len(data)
        assert messages.BEGUN not in plane.kinds()
        await client.bye(100)  # it has rested for long

    main(short_folder, body, "same")


def test_what_ends_otherwise_is_told_like_any_job_and_ends_the_loan(short_folder: Path) -> None:
    async def body(plane: Plane, client: Client) -> None:
        assert await client.value(1) == b"x"
        job = await client.run(direct.LIMIT)
        header, data = await plane.frame(messages.BEGUN, job=job)
        assert (header["number"], header["key"], header["attempt"]) == (2, client.keys[2], 1)
        assert payload.decode(data) == ((direct.LIMIT,), {})
        assert len(await plane.outcome(job)) == direct.LIMIT
        await client.bye(2)
        kinds = [kind for kind in plane.kinds() if kind in (messages.RECORDED, messages.BEGUN, messages.LOAN_OVER)]
        assert kinds == [messages.RECORDED, messages.BEGUN, messages.LOAN_OVER]
        assert len(await plane.call(by_value(_bytes), 3)) == 3
        async with Client(plane, by_value(_bytes)) as again:
            job = await again.run("no number")
            is_error(await plane.outcome(job), ErrorKind.USER, "TypeError")

    main(short_folder, body, "", act=_bytes)


def _bytes(count: int = 1) -> bytes:
    return b"x" * count


def test_lines_come_before_the_end_and_with_the_job(short_folder: Path) -> None:
    def act(said: str = "", seconds: float = 0.0) -> str:
        import time

        if said:
            print(said, flush=True)
        time.sleep(seconds)
        return said

    async def body(plane: Plane, client: Client) -> None:
        artifact = by_value(act)
        for said, seconds in (("short", 0.0), ("long", 0.05)):
            async with Client(plane, artifact) as again:
                assert await again.value() == ""
                job = await again.run(said, seconds)
                assert await plane.outcome(job) == said
                assert plane.lines("stdout", job) == [said]
                kinds = [header["type"] for _, header, _ in plane.frames if header.get("job") == job]
                assert kinds == [messages.BEGUN, messages.LOG, messages.DONE]

    main(short_folder, body, "", act=act)


def test_a_loan_that_is_to_end_tells_of_the_call_that_runs(short_folder: Path) -> None:
    async def body(plane: Plane, client: Client) -> None:
        job = await client.run(1.0)
        await plane.until(lambda: plane.lines().count("spinning") == 2, "it runs")
        await plane.send({"type": messages.END_LOAN, "loan": client.loan})
        await plane.frame(messages.BEGUN, job=job)
        behind = await plane.start(by_name("add"), 1)
        assert await plane.outcome(job) == "spun"
        await client.bye(1)
        assert await plane.outcome(behind) == 3

    main(short_folder, body, "spin")


def test_a_call_that_the_control_plane_knows_of_is_cancelled_and_killed_like_any(short_folder: Path) -> None:
    async def body(plane: Plane, client: Client) -> None:
        job = await client.run(60.0)
        begun = {"type": messages.BEGUN, "loan": client.loan, "number": 1, "job": job, "attempt": 1}
        await plane.send(begun)
        await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
        is_error(await plane.outcome(job), ErrorKind.CANCELLED)
        await client.bye(1)
        assert await plane.call(by_name("add"), 1) == 3

    main(short_folder, body, "sleep")


def test_a_call_of_a_child_that_is_stopped_is_cancelled_before_it_begins(short_folder: Path) -> None:
    async def body(plane: Plane, client: Client) -> None:
        inside = await client.value()
        pid = next(pid for pid in plane.left_over() if _name_inside(pid) == str(inside))
        os.kill(pid, signal.SIGSTOP)
        try:
            job = await client.run(60.0)
            await plane.send({"type": messages.BEGUN, "loan": client.loan, "number": 2, "job": job, "attempt": 1})
            await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
        finally:
            os.kill(pid, signal.SIGCONT)
        is_error(await plane.outcome(job), ErrorKind.CANCELLED)
        await client.bye(2)

    main(short_folder, body, "", act=_own_pid, cancel_grace_s=10.0)


def _own_pid(seconds: float = 0.0) -> int:
    import os
    import time

    time.sleep(seconds)
    return os.getpid()


def _name_inside(pid: int) -> str:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split()[-1] for line in lines if line.startswith("NSpid")), "")


def test_a_process_that_dies_tells_of_the_calls_that_the_control_plane_knows(short_folder: Path) -> None:
    async def body(plane: Plane, client: Client) -> None:
        job = await client.run(7)
        await plane.send({"type": messages.BEGUN, "loan": client.loan, "number": 1, "job": job, "attempt": 1})
        gone, _ = await plane.frame(messages.GONE)
        assert gone["unbegun"] == []
        assert gone["jobs"] in ([job], [])  # it may have died before the parent heard of it

    main(short_folder, body, "", act=_die)


def _die(code: int = 0) -> None:
    import os
    import time

    if code:
        time.sleep(0.3)
        os._exit(code)


def test_a_client_that_is_no_friend_or_goes_gets_nothing_and_the_worker_goes_on(short_folder: Path) -> None:
    async def whole() -> None:
        async with Plane(short_folder) as plane:
            assert await plane.call(by_name("same"), 1) == 1
            async with Client(plane, by_name("same"), answer="bad") as client:
                with contextlib.suppress(OSError):  # the line may be closed already
                    await client.run(1)
                await plane.frame(messages.LOAN_OVER, last=0)
            assert messages.RECORDED not in plane.kinds()
            plane.frames.clear()
            async with Client(plane, by_name("same")) as client:
                await client.run("left behind")
            (_, _, taken, given, _, _) = (await plane.until(lambda: recorded(plane), "a record"))[0]
            assert taken > given > 0, "what had arrived is run"
            await plane.frame(messages.LOAN_OVER, last=1)
            lend = {"type": messages.LEND, "loan": "l2", "address": "nobody-is-here", "token": "t", "answer": "a"}
            await plane.send({**lend, "worker": "w1", "call": {"artifact": by_name("same")[0]}})
            await plane.frame(messages.LOAN_OVER, loan="l2", last=0)
            assert await plane.call(by_name("same"), 2) == 2

    asyncio.run(whole())


def test_a_worker_that_is_drained_says_goodbye_first(short_folder: Path) -> None:
    async def body(plane: Plane, client: Client) -> None:
        assert await client.value(1) == 1
        await plane.send({"type": messages.DRAIN})
        await client.bye(1)
        assert await asyncio.wait_for(plane.process.wait(), 10) == 0
        assert len(recorded(plane)) == 1

    main(short_folder, body, "same")


class Program:
    """A client that shares memory: it writes arguments, and reads results in rooms of its own."""

    def __init__(self, client: Client, link: ArenaLink) -> None:
        self.client, self.link = client, link

    async def run(self, value: Any, room: Range | None = None, **more: Any) -> Range:
        """Give it a call with a large argument; gives where that lies."""
        client, encoded = self.client, payload.encode_pieces(((value,), {}))
        assert isinstance(encoded, Pieces)
        placed = self.link.place(encoded)
        assert placed is not None
        client.number += 1
        client.keys.append(ordered_hex())
        run = {"type": direct.RUN, "number": client.number, "key": client.keys[-1], "range": placed.name}
        await client.say({**run, **({"room": room.name} if room is not None else {}), **more})
        return placed

    async def needs(self) -> Range:
        """It asks for room, and gets some."""
        header, _ = await self.client.next()
        assert (header["type"], header["number"]) == (direct.NEED, self.client.number)
        whole, fresh = self.link.offer(header["size"]) or pytest.fail("it is full")
        await self.client.say({"type": direct.ROOM, "number": header["number"], "room": whole.name, "fresh": fresh})
        return whole

    async def read(self, room: Range) -> tuple[Any, dict[str, Any]]:
        """The value that lies in a room now, and what was said of it."""
        header, body = await self.client.next()
        assert (header["type"], header["number"], body) == (direct.DONE, self.client.number, b"")
        return payload.decode(self.link.own(room.beginning(header["size"]), again=True)), header


def with_memory(folder: Path, body: Callable[[Plane, Program, Memory], Any], act: Callable[..., Any]) -> None:
    """As `main`, with memory that control plane, worker and client share."""
    memory = Memory(folder, 33 * 1024 * 1024, {"w1": "secret"})

    async def whole() -> None:
        async with asyncio.timeout(30), Plane(folder, settings={"arena": memory.path}) as plane:
            artifact = by_value(act)
            await plane.call(artifact, b"")
            async with Client(plane, artifact, memory=True) as client:
                await body(plane, Program(client, memory.link()), memory)

    try:
        asyncio.run(whole())
    finally:
        memory.close()


LARGE = b"x" * 3_000_000


def _given(value: bytes) -> bytes:
    return value


def test_large_values_are_read_and_written_in_ranges_of_the_client(short_folder: Path) -> None:
    async def body(plane: Plane, program: Program, memory: Memory) -> None:
        client = program.client
        placed = [await program.run(LARGE)]
        room = await program.needs()
        value, told = await program.read(room)
        assert value == LARGE
        assert "held" not in told
        placed.append(await program.run(LARGE, room))
        assert (await program.read(room))[0] == LARGE
        placed.append(await program.run(2 * LARGE, room))  # it is too small
        other = await program.needs()
        assert (await program.read(other))[0] == 2 * LARGE
        await plane.until(lambda: len(recorded(plane)) == 3, "records")
        calls = recorded(plane)
        assert [taken for _, _, taken, *_ in calls] == [each.name for each in placed]
        given = [Range.parse(given) for _, _, _, given, *_ in calls]
        assert [each.number for each in given] == [room.number, room.number, other.number]
        assert given[2].size > 2 * len(LARGE)
        assert messages.BEGUN not in plane.kinds()
        await client.say({"type": direct.READ, "number": 2})
        await client.say({"type": direct.READ, "number": 3})
        client.socket.close()
        assert "unread" not in await plane.frame(messages.LOAN_OVER, loan=client.loan, last=3)

    with_memory(short_folder, body, _given)


def test_a_result_for_which_there_is_no_room_goes_the_usual_way(short_folder: Path) -> None:
    async def body(plane: Plane, program: Program, memory: Memory) -> None:
        await no_room(plane, program)
        async with Client(plane, by_value(_given), memory=True) as again:
            await no_room(plane, Program(again, program.link), {"type": direct.ROOM, "number": 1})
        async with Client(plane, by_value(_given), memory=True) as third:
            other = Program(third, program.link)
            await other.run(LARGE)
            await other.needs()
            await third.next()
            third.socket.close()
            told, _ = await plane.frame(messages.LOAN_OVER, loan=third.loan, last=1)
            assert (told["unread"], told["gone"]) == (1, True), "its client may not have read the result"

    with_memory(short_folder, body, _given)


async def no_room(plane: Plane, program: Program, *answers: dict[str, Any]) -> None:
    """The worker asks for room, and gets none."""
    client = program.client
    placed = await program.run(LARGE)
    assert (await client.next())[0]["type"] == direct.NEED
    for answer in answers:
        await client.say(answer)
    told, data = await plane.frame(messages.BEGUN, loan=client.loan)
    assert (told["range"], data) == (placed.name, b"")
    done, _ = await plane.frame(messages.DONE, job=told["job"])
    assert payload.decode(program.link.view(Range.parse(done["range"]))) == LARGE
    await client.bye(1)


def test_arguments_that_are_used_on_are_held_before_the_answer(short_folder: Path) -> None:
    async def body(plane: Plane, program: Program, memory: Memory) -> None:
        placed = await program.run({"buffer": pickle.PickleBuffer(bytearray(LARGE))})
        header, data = await program.client.next()
        assert (header["type"], header["held"]) == (direct.DONE, direct.KNOWN)
        assert payload.decode(data) == len(LARGE)
        program.link.give_back(placed)
        memory.do(lambda: None)
        assert memory.do(lambda: memory.arena.find(placed.name)) == placed

    with_memory(short_folder, body, _kept_buffer)


def _kept_buffer(value: Any) -> int:
    import builtins

    kept = builtins.__dict__.setdefault("kept", [])
    kept.append(value)
    return len(value) if isinstance(value, bytes) else len(value["buffer"])
