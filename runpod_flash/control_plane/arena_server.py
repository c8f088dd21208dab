"""Talks with the processes that use the arena: programs of the owner, and workers (`worker_runtime.wire.arena_link`).

Each has a connection whose messages are read as soon as they come, and answered at once. Its end is the end of the
process, and of all that it forked.
"""

import asyncio
import contextlib
import hmac
import json
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from runpod_flash.control_plane.arena import Arena
from worker_runtime.wire import PROTOCOL
from worker_runtime.wire.arena_link import MESSAGE_LIMIT
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.ranges import Range

logger = logging.getLogger(__name__)

IDLE_S: Final = 30.0
"""Seconds without use after which memory behind free ranges is given to the system."""

_GIVEN_AT_ONCE: Final = 128 * 1024**2  # some ten milliseconds of this process
_END_S: Final = 5.0  # which the end of a process may take
_BACKLOG: Final = 128
_AT_ONCE: Final = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)  # made once: flags are slow to join


class Conversation:
    """One process. `worker`: its id, where it is one; None: a program of the owner, or nobody before it said hello.

    `name`: what a program calls it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.worker: str | None = None
        self.name = ""
        self.greeted = False

    def room(self, found: Range, until: float) -> None:
        """See `arena.Talker`."""
        self.say(f"room {found.name} 0 {until!r}")

    def say(self, words: str) -> bool:
        """Send a message. One that does not listen loses it: what it was given then is free again after a while."""
        try:
            self.socket.send(words.encode(), _AT_ONCE)
        except OSError:
            return False
        return True


class ArenaServer:
    """Listens for processes that use the arena.

    Args:
        arena: what they talk about.
        key: the owner's.
        token_of: the token of a worker by its id; None: there is no such worker.

    Attributes:
        on_full: called with the id of a worker for whose result there is no room, which goes another way then.
    """

    def __init__(self, arena: Arena, key: str, token_of: Callable[[str], str | None]) -> None:
        self._arena, self._key, self._token_of = arena, key, token_of
        self._talking: dict[int, Conversation] = {}  # by descriptor
        self._workers: dict[str, Conversation] = {}
        self._pins: Counter[str] = Counter()  # by name: workers that may use what the program holds
        self._pinned: dict[str, list[Conversation]] = {}  # that have ended meanwhile
        self._awaited: dict[str, tuple[asyncio.TimerHandle, Callable[[], None]]] = {}  # what is done when one ends
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.on_full: Callable[[str], None] = lambda worker_id: None
        arena.before_overdue = self.hear

    def start(self, path: str) -> None:
        """Listen at `path`, on the running loop. Raises OSError."""
        listening = self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listening.bind(path)
        os.chmod(path, 0o600)
        listening.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(listening.fileno(), self._accept)

    def close(self) -> None:
        """End all conversations."""
        loop = asyncio.get_running_loop()
        for timer in (self._timer, *(timer for timer, _ in self._awaited.values())):
            if timer is not None:
                timer.cancel()
        for talker in list(self._talking.values()):
            self._end(talker)
        if self._socket is not None:
            loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def worker(self, worker_id: str) -> Conversation | None:
        """The conversation with a worker; None: it has none, and cannot use the arena."""
        return self._workers.get(worker_id)

    def pin(self, name: str) -> None:
        """What the program of this name holds is not free when it ends, until `unpin`: a worker may use it."""
        self._stop_waiting(name)  # it goes on
        self._pins[name] += 1

    def unpin(self, name: str) -> None:
        """Once for each `pin`."""
        self._pins[name] -= 1
        if self._pins[name] <= 0:
            del self._pins[name]
            for talker in self._pinned.pop(name, ()):
                self._arena.left(talker)

    def when_left(self, name: str, act: Callable[[], None]) -> None:
        """Do something as soon as the program of this name has ended, which is pinned and seems to end now.

        It is not done where that goes on: it borrows once more, or a moment is over.
        """
        self.hear()
        if name in self._pinned:
            act()
            return
        self.pin(name)
        timer = asyncio.get_running_loop().call_later(_END_S, self._stop_waiting, name)
        self._awaited[name] = timer, act

    def _stop_waiting(self, name: str) -> None:
        timer, _ = self._awaited.pop(name, (None, None))
        if timer is not None:
            timer.cancel()
            self.unpin(name)

    def hear(self) -> None:
        """Read what has been said until now."""
        for talker in list(self._talking.values()):
            self._read(talker)

    # ---- conversations

    def _accept(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):  # BlockingIOError is one
            while True:
                sock, _ = self._socket.accept()
                sock.setblocking(False)
                talker = self._talking[sock.fileno()] = Conversation(sock)
                asyncio.get_running_loop().add_reader(sock.fileno(), self._read, talker)

    def _read(self, talker: Conversation) -> None:
        try:
            while True:
                data = talker.socket.recv(MESSAGE_LIMIT)
                if not data:
                    raise EOFError
                (self._obey if talker.greeted else self._greet)(talker, data)
        except BlockingIOError:
            pass
        except (EOFError, OSError):
            self._end(talker)
        except (WireError, ValueError, KeyError, IndexError) as error:  # user code may have written to it
            logger.warning("a conversation about the arena is ended: %s: %s", type(error).__name__, error)
            self._end(talker)
        self._set_timer()

    def _greet(self, talker: Conversation, data: bytes) -> None:
        said = json.loads(data)
        refusal = self._refusal(said if isinstance(said, dict) else {})
        if refusal is not None:
            talker.say(json.dumps({"refused": refusal}))
            raise WireError(refusal)
        talker.greeted = True
        if said.get("worker") is not None:
            talker.worker = str(said["worker"])
            self._workers[talker.worker] = talker
        else:
            talker.name = str(said.get("name") or "")
        file = self._arena.file
        answer = json.dumps({"arena": file.number, "size": file.size, "marks": file.marks}).encode()
        socket.send_fds(talker.socket, [answer], [file.descriptor])

    def _refusal(self, said: dict[str, Any]) -> str | None:
        if said.get("protocol") != PROTOCOL:
            return f"protocol {said.get('protocol')!r:.20} is not spoken here: {PROTOCOL}"
        worker = said.get("worker")
        right = self._key if worker is None else self._token_of(str(worker))
        given = said.get("key") if worker is None else said.get("token")
        if right is None or not hmac.compare_digest(right.encode(), str(given).encode("utf-8", "replace")):
            return "the key is not the owner's, nor the token a worker's"
        return None

    def _obey(self, talker: Conversation, data: bytes) -> None:
        arena, words = self._arena, data.decode("ascii", "replace").split()
        match words:
            case ["alloc", number, size]:
                self._alloc(talker, number, int(size))
            case ["lease", number, name]:
                there = arena.lease(talker, Range.parse(name))
                if number != "0":
                    talker.say(f"{'leased' if there else 'gone'} {number}")
            case ["free", name]:
                arena.free(talker, Range.parse(name))
            case ["unbacked", name]:
                arena.free(talker, Range.parse(name), unbacked=True)
            case ["taken", name]:
                arena.taken(Range.parse(name))
            case _:
                raise WireError(f"{data!r:.80} is no word about an arena")

    def _alloc(self, talker: Conversation, number: str, size: int) -> None:
        found = self._arena.alloc(talker, size)
        if found is not None:
            talker.say(f"range {number} {found[0].name} {int(found[1])}")
            return
        talker.say(f"full {number}")
        if talker.worker is not None:
            self.on_full(talker.worker)

    def _end(self, talker: Conversation) -> None:
        if self._talking.pop(talker.socket.fileno(), None) is None:
            return
        asyncio.get_running_loop().remove_reader(talker.socket.fileno())
        if talker.worker is not None and self._workers.get(talker.worker) is talker:
            del self._workers[talker.worker]
        talker.socket.close()
        if talker.name in self._pins:
            self._pinned.setdefault(talker.name, []).append(talker)
            if talker.name in self._awaited:
                self._awaited[talker.name][1]()
                self._stop_waiting(talker.name)
        else:
            self._arena.left(talker)

    # ---- time

    def _set_timer(self) -> None:
        """Look again when something may be overdue, or idle for so long. Nothing is looked at without a reason."""
        if self._timer is None:
            idle, due = self._arena.last_used + IDLE_S, self._arena.next_due()
            self._look_in((idle if due is None else min(due, idle)) - time.monotonic())

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._look)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        self._arena.pass_time(now)
        if now >= self._arena.last_used + IDLE_S and self._arena.give_to_system(_GIVEN_AT_ONCE):
            self._look_in(0.0)
        elif self._arena.next_due() is not None or now < self._arena.last_used + IDLE_S:
            self._set_timer()
