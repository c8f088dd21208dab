"""The ranges of shared memory of a program that a worker uses which is lent to it.

    arguments ─ run ─▶ read ─┐
    room      ─ run ─▶ written ── done ─▶ read here ─▶ the next call's, without a word to anybody

All of them are this program's. What the worker may still use is given to nobody: it is free when the worker has said
done or bye, or has gone. What the control plane may know, since it was told of the call, is given back by a word.
"""

from collections.abc import Callable
from typing import Any, Protocol

from runpod_flash.backends.memory import Room
from runpod_flash.backends.waiting import Waiting
from worker_runtime.wire import direct
from worker_runtime.wire.calls import Buffer
from worker_runtime.wire.frames import Header
from worker_runtime.wire.jobs import Payload


class Memory(Protocol):
    """Shared memory of a program: see `memory.SharedMemory`."""

    name: str

    def offer(self, size: int) -> Room | None:
        """A range into which a worker may write."""
        ...

    def reuse(self, payload: Payload) -> None:
        """A value is free that nobody else knows."""

    def give_back(self, payload: Payload) -> None:
        """A value is free."""

    def source(self, payload: Payload) -> Callable[[], Payload]:
        """What gives a value anew."""
        ...


class Ranges:
    """Those of one loan.

    Attributes:
        unsaid: the number of the last call, where its result lay in a room and the worker was not told that it is read.
        source: gives the arguments of the last call anew, where they lie in a range: see `Memory`.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._rooms: dict[int, Room] = {}  # that the worker may write to, by call
        self._arguments = Payload.inlined(b"")  # of the last call
        self._expected = 0  # the size of the next result, if it is large
        self.unsaid = 0
        self.source: Callable[[], Payload] | None = None

    def of_call(self, number: int, arguments: Payload) -> str:
        """What the frame of a call has to say of them: JSON, to be put behind its other fields."""
        self.unsaid, self._arguments = 0, arguments
        self.source = None if arguments.range is None else self._memory.source(arguments)
        text = "" if arguments.range is None else f',"range":"{arguments.range}"'
        room = self._memory.offer(self._expected) if self._expected else None
        if room is not None:
            self._rooms[number] = room
            text += f',"room":"{room.found.name}"' + (',"fresh":true' if room.is_fresh else "")
        return text

    def room_for(self, number: int, size: int) -> Header:
        """The answer to a worker that needs room for a result."""
        answer: dict[str, Any] = {"type": direct.ROOM, "number": number}
        self._drop(number)
        room = self._memory.offer(size)
        if room is None:
            return answer
        self._rooms[number] = room
        return {**answer, "room": room.found.name, "fresh": room.is_fresh}

    def value(self, waiting: Waiting, header: Header, body: Buffer) -> Buffer:
        """The value of a call that is done, whose arguments are free now."""
        self._free_arguments(waiting, header.get("held"))
        size, number = header.get("size"), waiting.number
        if size is None:
            self._expected = 0
            self._drop(number)
            return body
        self._expected, self.unsaid = size, number
        return self._rooms.pop(number).written(size, again=not waiting.is_told)

    def late(self, number: int) -> None:
        """A call is done that has ended otherwise."""
        if number in self._rooms:
            self._rooms.pop(number).free()

    def free(self) -> None:
        """The worker uses none of them any more."""
        for number in list(self._rooms):
            self._drop(number)

    def _drop(self, number: int) -> None:
        """Nothing was written into the room of a call, as far as is known."""
        room = self._rooms.pop(number, None)
        if room is not None and room.is_fresh:
            room.free(unbacked=True)
        elif room is not None:
            room.reuse()

    def _free_arguments(self, waiting: Waiting, held: str | None) -> None:
        arguments, waiting.arguments = self._arguments, None  # though they may be a job's by now
        if held == direct.UNKNOWN:
            return
        if held is None and not waiting.is_told:
            self._memory.reuse(arguments)
        else:
            self._memory.give_back(arguments)
