"""A process's end of the conversation about an arena: it asks for ranges, and says which it needs no more.

It has a socket of its own, whose messages are short and never wait for each other. Nobody listens to it between two
values: what the control plane says meanwhile is read with the next one. When the last process that has the socket ends,
all that it held is free.

    process → control plane        hello, as JSON (a program's `name` is its own); then words:
        alloc N SIZE               a range of so many bytes, please; N numbers questions
        lease N NAME               this range is in use here from now on; N is 0 where no answer is waited for
        free NAME                  it is not any more; as often as it was leased
        unbacked NAME              the same: there is no memory for it
        taken NAME                 its value was read by the one it was for, and needs not be kept for others
    control plane → process        {"arena": its number, "size": bytes, "marks": where those are} with its file, or
                                   {"refused": why}; then
        range N NAME FRESH         FRESH 1: there may be no memory behind it yet
        full N                     there is none
        leased N, gone N
        room NAME FRESH UNTIL      a range to be used without a word until then (the machine's clock): a mark in the
                                   file says that it is in use; without that mark it may be used once more
"""

import json
import select
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from worker_runtime.wire.arena_map import ArenaMap
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.pieces import Pieces
from worker_runtime.wire.ranges import Range

MESSAGE_LIMIT = 4096
"""Bytes of the longest message."""

HELLO_S = 2.0
_ANSWER_S = 0.25  # after that a value goes the plain way
_MOST_WASTE = 2  # a room that is so many times larger than the value is left for another
_ROOMS = 4
_WRITTEN_HERE, _READ_HERE = 1, 2  # what a range is used for
_USED = 32  # rooms in use of which it is known until when they may be used again


class ArenaLost(Exception):
    """There is no arena, or none for this process. The message says why."""


class _Unclosed(socket.socket):
    """A socket that nobody closes: it goes with the last value that is in use."""

    def __del__(self) -> None:
        self.close()


class ArenaLink:
    """An open conversation, and the arena in this process's memory. May be used from several threads.

    Attributes:
        full: whether there was no room, or no memory for it, the last time that it was looked for; not where no answer
            came.
        lent: numbers of the ranges of which the control plane knows by itself when they are not used any more.
        lost: whether the control plane has gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take over a socket on which hello was said, and map the arena. Raises ArenaLost."""
        self._lock = threading.Lock()
        self._number = 0
        self._rooms: deque[tuple[Range, bool, float]] = deque(maxlen=_ROOMS)
        self._returned: deque[tuple[Range, float]] = deque()  # rooms that are free again, from any thread
        self._used: OrderedDict[int, tuple[Range, float]] = OrderedDict()  # rooms in use, and until when they are rooms
        self._uses: dict[int, int] = {}  # for what the range at an offset was used last
        self._own: dict[int, bool] = {}  # ranges of this process that it reads; whether they can be used again
        self._unsent: deque[bytes] = deque()
        self.lent: set[int] = set()
        self.full = self.lost = False
        try:
            sock.settimeout(HELLO_S)
            data, descriptors, _, _ = socket.recv_fds(sock, MESSAGE_LIMIT, 1)
            said = json.loads(data or b"{}")
            if not descriptors:
                raise ArenaLost(str(said.get("refused", "the control plane has closed the conversation")))
            self.arena = int(said["arena"])
            self._map = ArenaMap(descriptors[0], int(said["size"]), int(said["marks"]), self._unused)
            sock.setblocking(False)
            self._socket = _Unclosed(fileno=sock.detach())
            self._arrival = select.poll()
            self._arrival.register(self._socket, select.POLLIN)
        except (OSError, ValueError, KeyError) as error:
            raise ArenaLost(f"{type(error).__name__}: {error}") from error
        finally:
            sock.close()

    # ---- writing

    def place(self, pieces: Pieces) -> Range | None:
        """Write an encoded value into the arena. None: there is no room, so it has to go another way."""
        with self._lock:
            self.full = False
            found = self._room(pieces.size, _WRITTEN_HERE) or self._ask(pieces.size, _WRITTEN_HERE)
        if found is None:
            return None
        whole, fresh = found
        target = whole.beginning(pieces.size)
        return target if self.fill(target, pieces, fresh=fresh) else None

    def fill(self, target: Range, pieces: Pieces, *, fresh: bool) -> bool:
        """Write an encoded value into a range. `fresh`: there may be no memory behind it yet. False: there is none."""
        try:
            self._map.write(target, pieces, fresh=fresh)
        except OSError:
            self.full = True
            self._send(f"unbacked {target.name}")
            return False
        return True

    def offer(self, size: int) -> tuple[Range, bool] | None:
        """A range of at least so many bytes, into which another process shall write, and whether it is fresh.

        None: there is no room.
        """
        with self._lock:
            return self._room(size, _READ_HERE) or self._ask(size, _READ_HERE)

    def give_back(self, found: Range, *, unbacked: bool = False) -> None:
        """Say that a range that was placed or offered is of no use to anybody. `unbacked`: nor is there memory."""
        self._used.pop(found.number, None)
        self._send(f"{'unbacked' if unbacked else 'free'} {found.name}")

    def reuse(self, found: Range) -> None:
        """As `give_back`, without a word where it can be used again. Nobody may know its name. From any thread."""
        whole, until = self._used.pop(found.number, (found, 0.0))
        if time.monotonic() < until:
            self._map.unmark(whole)
            if time.monotonic() < until:  # then nobody has seen the mark
                self._returned.append((whole, until))
                return
        self._send(f"free {found.name}")

    def _room(self, size: int, use: int) -> tuple[Range, bool] | None:
        """One of the ranges that were given before anybody asked.

        Best is one that was used last, as it is nearest to the processor, and for the same: then its pages are in the
        page tables that are needed.
        """
        for words in self._heard():
            self._refuse(words)
        while self._returned:
            room, until = self._returned.popleft()
            self._rooms.append((room, False, until))
        fitting = [each for each in reversed(self._rooms) if size <= each[0].size <= _MOST_WASTE * size]
        for each in sorted(fitting, key=lambda each: self._uses.get(each[0].offset, use) != use):
            room, fresh, until = each
            self._rooms.remove(each)
            if self._entered(room, until):
                self._will_use(room, use)
                return room, fresh
        return None

    def _will_use(self, room: Range, use: int) -> None:
        if len(self._uses) >= _USED:
            self._uses.clear()
        self._uses[room.offset] = use

    def _entered(self, room: Range, until: float) -> bool:
        """Take a room. When its time is over the control plane is asked."""
        if time.monotonic() < until:
            self._map.mark(room)
            if time.monotonic() < until:  # then it is seen in time
                self._used[room.number] = room, until
                if len(self._used) > _USED:
                    self._used.popitem(last=False)
                return not self.lost
            self._map.unmark(room)
        return self._answer("lease", room.name) == ["leased"]

    def _leased(self, found: Range, until: float) -> bool:
        """Take a result that is there for a while. After that the control plane is asked."""
        if time.monotonic() < until:
            self._send(f"lease 0 {found.name}")
            if time.monotonic() < until:  # then it was said in time
                return not self.lost
        return self._answer("lease", found.name) == ["leased"]

    def _ask(self, size: int, use: int) -> tuple[Range, bool] | None:
        words = self._answer("alloc", str(size))
        self.full = words == ["full"]
        if len(words) != 3 or words[0] != "range":
            return None
        found = Range.parse(words[1])
        if not self._map.contains(found) or found.size < size:
            return None
        self._will_use(found, use)
        return found, words[2] == "1"

    def look(self) -> None:
        """Hear what was said, so that `lost` is true where the control plane has gone."""
        with self._lock:
            for words in self._heard():
                self._refuse(words)

    # ---- reading

    def has(self, found: Range) -> bool:
        """Whether a range is one of this arena."""
        return found.arena == self.arena and self._map.contains(found)

    def view(self, found: Range) -> memoryview:
        """The bytes of a range that somebody holds for this process, to be read and changed where they lie.

        Raises:
            WireError: it is none of this arena.
        """
        if not self.has(found):
            raise WireError(f"range {found.name} is none of this control plane's memory")
        return self._map.view(found)

    def own(self, found: Range, *, again: bool) -> memoryview:
        """As `view`, of a range that was offered, and that another process has written.

        When nothing refers to it any more the range is given back; `again`: it can be used again.
        """
        self._own[found.number] = again
        return self._map.view(found)

    def keep(self, found: Range) -> bool:
        """Go on using a range when another process needs it no more, which waits for this. False: it is not there."""
        with self._lock:
            return self._answer("lease", found.name) == ["leased"]

    def lease(self, found: Range, until: float) -> memoryview | None:
        """As `view`, of a range that is held until then. None: it is not there any more."""
        if not self.has(found):
            return None
        with self._lock:
            return self._map.view(found) if self._leased(found, until) else None

    def taken(self, found: Range) -> None:
        """Say that the value in a range was read, and needs not be kept for others."""
        self._send(f"taken {found.name}")

    def tidy_later(self) -> None:
        """Leave it to `tidy` to give up what user code has changed of values: when there is time for that."""
        self._map.tidies_late = True

    def tidy(self) -> None:
        """See `ArenaMap.tidy`."""
        self._map.tidy()

    def in_use(self, found: Range) -> bool:
        """Whether something here refers to the bytes of a range."""
        return self._map.in_use(found)

    def _unused(self, found: Range) -> None:
        again = self._own.pop(found.number, None)
        if again:
            self.reuse(found)
        elif again is not None:
            self.give_back(found)
        elif found.number not in self.lent:
            self._send(f"free {found.name}")

    # ---- the socket

    def _answer(self, question: str, what: str) -> list[str]:
        """Ask, and wait for the answer: its words without the number; none where there is none in time."""
        self._number += 1
        number = str(self._number)
        self._send(f"{question} {number} {what}")
        end = time.monotonic() + _ANSWER_S
        while not self.lost and (left := end - time.monotonic()) > 0:
            self._arrival.poll(left * 1000)
            answer = list[str]()
            for words in self._heard():
                if words[1:2] == [number]:
                    answer = [words[0], *words[2:]]
                else:
                    self._refuse(words)
            if answer:
                return answer
        return []

    def _refuse(self, words: list[str]) -> None:
        """Give back what a question was answered with that had been given up."""
        if words[:1] == ["range"]:
            self._send(f"free {words[2]}")
        elif words[:1] == ["leased"]:
            self.lost = True  # it is held for ever, and its name is not known any more

    def _heard(self) -> list[list[str]]:
        """The words of each message since the last time, but for rooms, which are noted."""
        found: list[list[str]] = []
        while not self.lost:
            try:
                data = self._socket.recv(MESSAGE_LIMIT)
            except BlockingIOError:
                break
            except ConnectionError:
                data = b""
            words = data.decode("ascii", "replace").split()
            self.lost = not words
            if words[:1] == ["room"]:
                self._note_room(words)
            elif words:
                found.append(words)
        return found

    def _note_room(self, words: list[str]) -> None:
        found = Range.parse(words[1])
        if self.has(found):
            self._rooms.append((found, words[2] == "1", float(words[3])))

    def _send(self, words: str) -> None:
        """Say something, in any thread, without waiting and without a lock: the end of a value may be anywhere."""
        self._unsent.append(words.encode())
        try:
            while self._unsent:
                message = self._unsent.popleft()
                try:
                    self._socket.send(message, socket.MSG_NOSIGNAL)  # user code may want to end by SIGPIPE
                except BlockingIOError:
                    self._unsent.appendleft(message)
                    return
        except IndexError:  # another thread was faster
            return
        except OSError:
            self.lost = True


def greeted(path: str, hello: Mapping[str, Any]) -> socket.socket:
    """A socket on which hello was said to the one who keeps an arena. Raises ArenaLost."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.settimeout(HELLO_S)
        sock.connect(path)
        sock.send(json.dumps(hello).encode())
    except OSError as error:
        sock.close()
        raise ArenaLost(f"{path} cannot be reached: {error}") from error
    return sock
