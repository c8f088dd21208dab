"""The shared memory of one control plane: who holds which range of it, and until when.

    alloc ▶ written ▶ submitted: its job holds it ▶ the job has ended ▶ free, or a room for the one who wrote it
                      given as a result: held for its caller ▶ leased ▶ taken ▶ unused ▶ free
                                              └ after `HELD_S` nobody has taken it: kept as a file (`on_overdue`)

A range is held by conversations, by what processes say, and by jobs. What jobs hold is noted in the file itself
(`arena_file`), so that the next control plane finds it after this one was killed. Who uses a room says nothing, but
marks it in the file. That is looked at when its time is over; before, a call or a result that names it tells enough.
"""

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from runpod_flash.control_plane.arena_file import ArenaFile
from runpod_flash.control_plane.arena_space import Space, rounded
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.ranges import Range

HELD_S: Final = 8.0
"""Seconds for which a result is held for whoever waits for it, and a room for whoever gets it."""

_LATE_S: Final = 1.0  # what was said in time has arrived by then
_ROOMS: Final = 4  # for one process


class Talker(Protocol):
    """A process, as the arena sees it."""

    def room(self, found: Range, until: float) -> None:
        """It may use this range until then."""


class _Held:
    """A range that is not free."""

    __slots__ = ("found", "holders", "jobs", "marked", "result", "room", "slot", "writer")

    def __init__(self, found: Range, writer: Talker) -> None:
        self.found = found  # all of it; what is written may be less
        self.writer: Talker | None = writer  # who asked for it
        self.holders: Counter[Talker] = Counter()
        self.jobs: set[str] = set()  # whose arguments it has
        self.result: Range | None = None  # it has a result that nobody has taken yet
        self.room = False  # it is nobody's, and may be used by its writer
        self.marked = False  # its writer holds it, as its mark has told
        self.slot: int | None = None

    @property
    def is_held(self) -> bool:
        return bool(self.holders or self.jobs or self.result or self.room)

    @property
    def is_needed(self) -> bool:
        """Whether a job needs it, its own or as its result."""
        return bool(self.jobs or self.result)


class Arena:
    """Gives ranges, and counts who holds them.

    Attributes:
        new_number: gives the numbers of ranges, which nobody can guess.
        on_overdue: called with each result that nobody has taken in time; `drop_result` is to follow.
        before_overdue: called before anything counts as overdue: it hears what processes have said already.
    """

    def __init__(self, file: ArenaFile) -> None:
        self._file = file
        self._space = Space(file.start, file.size)
        self._held: dict[int, _Held] = {}
        self._due: OrderedDict[int, float] = OrderedDict()  # results and rooms, by number: when they are overdue
        self._rooms: Counter[Talker] = Counter()
        self._of_jobs: dict[str, list[Range]] = {}
        self.last_used = time.monotonic()
        self.new_number: Callable[[], int] = lambda: secrets.randbits(64)
        self.on_overdue: Callable[[Range], None] = self.drop_result
        self.before_overdue: Callable[[], None] = lambda: None

    @property
    def file(self) -> ArenaFile:
        """Where the values lie."""
        return self._file

    @property
    def used(self) -> int:
        """Bytes of ranges that are not free."""
        return self._space.end - self._space.start - self._space.free

    # ---- what processes say

    def alloc(self, who: Talker, size: int) -> tuple[Range, bool] | None:
        """A range of so many bytes, held by `who`, and whether there may be no memory behind it. None: it is full.

        It may be larger.
        """
        if size <= 0:
            return None
        offset = self._space.take(size)
        if offset is None:
            return None
        held = self._new(offset, rounded(size), who)
        held.holders[who] = 1
        return held.found, not self._space.is_backed(offset, held.found.size)

    def _new(self, offset: int, size: int, who: Talker) -> _Held:
        number = self.new_number()
        held = self._held[number] = _Held(Range(self._file.number, number, offset, size), who)
        self.last_used = time.monotonic()
        return held

    def lease(self, who: Talker, found: Range) -> bool:
        """`who` uses it from now on. False: it is not there any more."""
        held = self._find(found)
        if held is None:
            return False
        if held.room and held.writer is not who:
            self._believe(held)
        elif held.room:
            self._leave_room(held)
        if held.marked and held.writer is who:  # it asks because it was late, and was believed
            held.marked = False
        else:
            held.holders[who] += 1
        return True

    def free(self, who: Talker, found: Range, *, unbacked: bool = False) -> None:
        """`who` uses it no more, once."""
        held = self._find(found)
        if held is None or not self._holds(held, who):
            return
        if not unbacked:
            self._space.back(held.found.offset, held.found.size)
        self._release(held, who, held.holders[who] - 1)

    def taken(self, found: Range) -> None:
        """The value in it was read by whom it was for."""
        self.drop_result(found)

    def left(self, who: Talker) -> None:
        """A process has ended: all that it held is free."""
        for held in list(self._held.values()):
            if held.writer is who:
                held.writer = None
                if held.room:
                    self._leave_room(held)
            if who in held.holders:
                self._release(held, who, 0)
            else:
                self._look(held)
        self._rooms.pop(who, None)

    # ---- what jobs need

    def find(self, name: str) -> Range | None:
        """The range of this name, if it is one and not free."""
        try:
            found = Range.parse(name)
        except WireError:  # the hash of a file
            return None
        return found if self._find(found) is not None else None

    def keep(self, found: Range, job: str) -> bool:
        """A job needs it for its arguments: the one who wrote it does not any more. False: it is not there.

        It is noted: the range outlives this process.
        """
        held = self._find(found)
        if held is None or not self._note(held, found):
            return False
        if held.room:
            self._leave_room(held)
        held.jobs.add(job)
        self._of_jobs.setdefault(job, []).append(found)
        if held.writer is not None:
            self._release(held, held.writer, 0)
        return True

    def ranges_of(self, job: str) -> list[Range]:
        """What a job needs."""
        return list(self._of_jobs.get(job, ()))

    def let_go(self, job: str) -> None:
        """A job needs its arguments no more."""
        for found in self._of_jobs.pop(job, ()):
            held = self._held[found.number]
            held.jobs.discard(job)
            self._look(held)

    def lend(self, who: Talker, found: Range) -> None:
        """A worker reads it from now on; `free` or its end follows."""
        held = self._find(found)
        if held is not None:
            held.holders[who] += 1

    def deliver(self, who: Talker, found: Range) -> float | None:
        """A worker has written a result into it. Until when it is held for its caller; None: it was not the worker's.

        It is noted: the range outlives this process.
        """
        held = self._find(found)
        if held is None or not self._holds(held, who) or not self._note(held, found):
            return None
        held.result = found
        until = self._hold(held)
        self._release(held, who, 0)
        return until

    def inherit(self, found: Range, named: Range) -> None:
        """The one who held a range has ended before it read the value in it: that is a result now, as any.

        `named`: what it is called from now on.
        """
        held = self._find(found)
        if held is None or held.is_needed:
            return
        if held.room:
            self._leave_room(held)
        del self._held[found.number]
        held.found = Range(named.arena, named.number, held.found.offset, held.found.size)
        held.marked, held.writer = False, None
        held.holders.clear()
        self._held[named.number] = held
        if self._note(held, named):
            held.result = named
            self._hold(held)
        else:
            self._look(held)

    def unnamed(self, found: Range) -> Range:
        """A name for what lies in a range now, and will not be found there: another number."""
        return Range(found.arena, self.new_number(), found.offset, found.size)

    def drop_result(self, found: Range) -> None:
        """The result in it is needed no more, or kept elsewhere."""
        held = self._find(found)
        if held is not None and held.result:
            held.result = None
            self._due.pop(held.found.number, None)
            self._look(held)

    # ---- time passes

    def next_due(self) -> float | None:
        """When `pass_time` has something to do next; None: nothing waits for that."""
        return next(iter(self._due.values()), None)

    def pass_time(self, now: float) -> None:
        """End what was held for a while and was not used."""
        if not self._due or next(iter(self._due.values())) > now:
            return
        self.before_overdue()
        while self._due:
            number, due = next(iter(self._due.items()))
            if due > now:
                return
            del self._due[number]
            held = self._held[number]
            if held.room:
                self._believe(held)
                held.writer = held.writer if held.marked else None
                self._look(held)
            elif held.result:
                self.on_overdue(held.result)

    def give_to_system(self, most: int) -> bool:
        """Give memory behind what is free to the system, at most so many bytes; whether there was some."""
        stretches = self._space.bare(most)
        for start, end in stretches:
            self._file.punch(start, end)
        return bool(stretches)

    # ---- inside

    def _believe(self, held: _Held) -> None:
        """A room is none any more: its writer holds it, if that has marked it."""
        self._leave_room(held)
        if held.writer is not None and self._file.is_marked(held.found):
            held.holders[held.writer], held.marked = 1, True

    def _holds(self, held: _Held, who: Talker) -> bool:
        """Whether a process holds a range. Who speaks of its room has entered it."""
        if held.room and held.writer is who:
            self._leave_room(held)
            held.holders[who] = 1
        return who in held.holders

    def _find(self, found: Range) -> _Held | None:
        """What is held under this number; a range may name the beginning of it."""
        held = self._held.get(found.number)
        if held is None or (found.arena, found.offset) != (self._file.number, held.found.offset):
            return None
        return held if 0 < found.size <= held.found.size else None

    def _hold(self, held: _Held) -> float:
        until = time.monotonic() + HELD_S
        self._due[held.found.number] = until + _LATE_S
        return until

    def _note(self, held: _Held, written: Range) -> bool:
        self._space.back(held.found.offset, held.found.size)
        if held.slot is None:
            held.slot = self._file.note(written)
        return held.slot is not None

    def _release(self, held: _Held, who: Talker, left: int) -> None:
        if left > 0:
            held.holders[who] = left
        else:
            held.holders.pop(who, None)
            self._look(held)

    def _can_be_room(self, found: Range, writer: Talker) -> bool:
        is_backed = self._space.is_backed(found.offset, found.size)
        return self._rooms[writer] < _ROOMS and is_backed and self._file.make_markable(found)

    def _leave_room(self, held: _Held) -> None:
        held.room = False
        self._due.pop(held.found.number, None)
        if held.writer is not None:
            self._rooms[held.writer] -= 1
            self._rooms += Counter()  # without those that have none

    def _look(self, held: _Held) -> None:
        """Something was let go."""
        if held.slot is not None and not held.is_needed:
            self._file.forget(held.slot)
            held.slot = None
        if held.is_held or self._held.pop(held.found.number, None) is None:
            return
        found, writer = held.found, held.writer
        self.last_used = time.monotonic()
        if writer is None or not self._can_be_room(found, writer):
            self._space.give(found.offset, found.size)
            return
        again = self._new(found.offset, found.size, writer)
        again.room = True
        self._rooms[writer] += 1
        writer.room(again.found, self._hold(again))
