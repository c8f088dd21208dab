"""Whether workers can be asked: each one's health path is polled, and changes are told."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from runpod_flash.control_plane.balancing.late_client import Probe
from runpod_flash.control_plane.limits import Limits
from runpod_flash.errors import ConfigError

logger = logging.getLogger(__name__)

_ANSWER_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.05  # while one starts; then longer and longer, up to the usual
_SLOWER: Final = 1.3
_PORTS: Final = range(1, 2**16)


class Health(StrEnum):
    """What is known of a worker. Only HEALTHY ones get requests."""

    INITIALIZING = "initializing"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    GIVEN_UP = "given up"  # it has never been healthy, and had time enough


def next_health(was: Health, status: int | None, *, once_healthy: bool, in_time: bool) -> Health:
    """What an answer says. `status` is None where none came, `in_time`: the time for its start is not over. Pure."""
    if was is Health.GIVEN_UP:
        return was
    if status == 200:
        return Health.HEALTHY
    if once_healthy:
        return Health.INITIALIZING if status == 204 else Health.UNHEALTHY
    return Health.INITIALIZING if in_time else Health.GIVEN_UP


def health_url(env: Mapping[str, str], port: int) -> str:
    """Where a worker with this environment, and `port` for its requests, tells its health.

    Raises:
        ConfigError: PORT_HEALTH or HEALTH_CHECK_PATH cannot be that.
    """
    asked, path = env.get("PORT_HEALTH") or str(port), env.get("HEALTH_CHECK_PATH") or "/ping"
    if not (asked.isascii() and asked.isdigit() and int(asked) in _PORTS):
        raise ConfigError(f"PORT_HEALTH is {asked!r:.80}; it must be a port, 1 to 65535")
    if not (path.startswith("/") and path.isascii() and path.isprintable() and " " not in path):
        raise ConfigError(
            f"HEALTH_CHECK_PATH is {path!r:.80}; it must begin with / and have ASCII signs without spaces"
        )
    return f"http://127.0.0.1:{int(asked)}{path}"


class HealthChecks:
    """Polls workers, one task for each. `on_change(worker, health)` is called in the loop after each change."""

    def __init__(self, limits: Limits, probe: Probe, on_change: Callable[[str, Health], None]) -> None:
        self._limits = limits
        self._probe = probe
        self._on_change = on_change
        self._states: dict[str, Health] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def health(self, worker: str) -> Health:
        """What is known of it; INITIALIZING where it is not watched."""
        return self._states.get(worker, Health.INITIALIZING)

    def watch(self, worker: str, url: str) -> None:
        """Begin to poll; nothing happens where that is so already."""
        if worker not in self._tasks:
            self._states[worker] = Health.INITIALIZING
            self._tasks[worker] = asyncio.create_task(self._poll(worker, url), name=f"health of {worker}")

    def forget(self, worker: str) -> None:
        """End it; no change is told after that."""
        self._states.pop(worker, None)
        task = self._tasks.pop(worker, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End all of it."""
        tasks = list(self._tasks.values())
        for worker in list(self._tasks):
            self.forget(worker)
        if tasks:
            await asyncio.wait(tasks)

    async def _poll(self, worker: str, url: str) -> None:
        started, once_healthy, health, pause = time.monotonic(), False, Health.INITIALIZING, _FIRST_PAUSE_S
        while health is not Health.GIVEN_UP:
            status = await self._probe.status(url, _ANSWER_S)
            in_time = time.monotonic() - started < self._limits.init_s
            after = next_health(health, status, once_healthy=once_healthy, in_time=in_time)
            once_healthy = once_healthy or after is Health.HEALTHY
            if after is not health:
                health = self._states[worker] = after
                logger.info("worker %s is %s (%s answers %s)", worker, health, url, status or "nothing")
                self._on_change(worker, health)
            if once_healthy:
                pause = self._limits.health_s
            await asyncio.sleep(min(pause, self._limits.health_s))
            pause *= _SLOWER
