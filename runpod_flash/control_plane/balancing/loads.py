"""Who has how much to do: requests that wait for a worker and requests that run in one."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from runpod_flash.control_plane.balancing.picking import Use

LINGER_S = 1.0
"""How long the event stream of a request goes on hearing of its endpoint, in seconds."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of an endpoint now. An open websocket is a request in flight."""

    in_flight: int = 0
    waiting: int = 0

    @property
    def total(self) -> int:
        """What the rule REQUEST_COUNT counts."""
        return self.in_flight + self.waiting


class Ticket:
    """One request. It waits until it is given to a worker."""

    def __init__(self, loads: "Loads", endpoint: str) -> None:
        self.worker: str | None = None
        self._loads = loads
        self._endpoint = endpoint

    def give_to(self, worker: str) -> None:
        """The request runs in this worker from now on."""
        self.worker = worker
        self._loads.given(self._endpoint, worker)


class Loads:
    """Counts, and tells `on_change(endpoint)` after each change. `on_idle(worker)` hears of a worker's last request.

    Attributes:
        changed_at: when a request came, began or ended last (monotonic seconds).
    """

    def __init__(self) -> None:
        self.changed_at = time.monotonic()
        self.on_change: Callable[[str], None] = lambda endpoint: None
        self.on_idle: Callable[[str], None] = lambda worker: None
        self._waiting: Counter[str] = Counter()
        self._uses: dict[str, dict[str, Use]] = {}  # by endpoint and worker
        self._busy: dict[str, asyncio.Event] = {}  # of workers that have something to do; set when they have not
        self._clients: dict[str, Counter[str]] = {}  # who hears of an endpoint, by endpoint
        self._picks = 0

    def of(self, endpoint: str) -> Load:
        """The load of an endpoint."""
        return Load(sum(use.in_flight for use in self.uses(endpoint).values()), self._waiting[endpoint])

    def uses(self, endpoint: str) -> Mapping[str, Use]:
        """What the workers of an endpoint have to do, by their ids."""
        return self._uses.get(endpoint, {})

    async def idle(self, worker: str) -> None:
        """Return when the worker has no request in flight, at once where that is so now."""
        while (event := self._busy.get(worker)) is not None:
            await event.wait()

    def forget(self, endpoint: str, living: set[str]) -> None:
        """Forget the workers of an endpoint that do not live and have nothing to do."""
        kept = {worker: use for worker, use in self.uses(endpoint).items() if use.in_flight or worker in living}
        if kept:
            self._uses[endpoint] = kept
        else:
            self._uses.pop(endpoint, None)

    @property
    def any(self) -> bool:
        """Whether any endpoint has a request that runs or waits."""
        return bool(self._waiting or self._busy)

    def clients(self, endpoint: str) -> Mapping[str, int]:
        """The event streams that hear of the endpoint: those whose requests run or wait, or have ended just now."""
        return self._clients.get(endpoint, {})

    @contextlib.contextmanager
    def heard_by(self, endpoint: str, client: str | None) -> Iterator[None]:
        """Let an event stream hear of the endpoint, for a moment longer than the block: output comes its own way."""
        if client is None:
            yield
            return
        self._hear(endpoint, client, 1)
        try:
            yield
        finally:
            asyncio.get_running_loop().call_later(LINGER_S, self._hear, endpoint, client, -1)

    @contextlib.contextmanager
    def request(self, endpoint: str) -> Iterator[Ticket]:
        """A request comes, and has ended when the block ends."""
        self._wait(endpoint, 1)
        self.on_change(endpoint)
        ticket = Ticket(self, endpoint)
        try:
            yield ticket
        finally:
            if ticket.worker is None:
                self._wait(endpoint, -1)
            else:
                self._ended(endpoint, ticket.worker)
            self.on_change(endpoint)

    def given(self, endpoint: str, worker: str) -> None:
        """A waiting request goes to this worker."""
        self._picks += 1
        uses = self._uses.setdefault(endpoint, {})
        uses[worker] = Use(uses.get(worker, Use()).in_flight + 1, self._picks)
        self._busy.setdefault(worker, asyncio.Event())
        self._wait(endpoint, -1)
        self.on_change(endpoint)

    def _ended(self, endpoint: str, worker: str) -> None:
        uses = self._uses[endpoint]
        self.changed_at = time.monotonic()
        left = uses[worker].in_flight - 1
        uses[worker] = Use(left, uses[worker].last_pick)
        if not left:
            self._busy.pop(worker).set()
            self.on_idle(worker)

    def _hear(self, endpoint: str, client: str, change: int) -> None:
        clients = self._clients.setdefault(endpoint, Counter())
        clients[client] += change
        if not clients[client]:
            del clients[client]
            if not clients:
                del self._clients[endpoint]
            self.on_change(endpoint)

    def _wait(self, endpoint: str, change: int) -> None:
        self.changed_at = time.monotonic()
        self._waiting[endpoint] += change
        if not self._waiting[endpoint]:
            del self._waiting[endpoint]
