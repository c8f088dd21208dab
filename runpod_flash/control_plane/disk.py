"""The bound on what the state may take of the disk, and room kept back for the ends of jobs that were accepted.

    LOW   most of the bound, or of the disk, is used: it is said
    FULL  nothing new is accepted; what was accepted goes on

A file of `Reserve` holds room back. When the disk is full all the same, it is given up, so that outcomes can still be
written; it is taken again as soon as there is space.
"""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from runpod_flash.control_plane.store import StoreFull

logger = logging.getLogger(__name__)

RESERVE_BYTES: Final = 16 * 1024**2
_RESERVE_PART: Final = 0.05  # … but of a small disk never more than this part
PLENTY_S: Final = 0.1
"""Seconds for which jobs come without another look where there is plenty of room: what is LOW is far from FULL."""

_LOW_PART: Final = 0.8  # of the bound
_LOW_RESERVES: Final = 8  # free space below so many reserves is low


class DiskLevel(StrEnum):
    """How much room there is."""

    GOOD = "good"
    LOW = "low"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What is used and free, in bytes. `limit` 0: no bound. `reserve` is the least that must be free to accept jobs."""

    used: int
    limit: int
    free: int
    reserve: int

    @property
    def level(self) -> DiskLevel:
        """The judgement."""
        if self.free < self.reserve or 0 < self.limit <= self.used:
            return DiskLevel.FULL
        if self.free < _LOW_RESERVES * self.reserve or 0 < self.limit * _LOW_PART <= self.used:
            return DiskLevel.LOW
        return DiskLevel.GOOD

    def said(self) -> str:
        """What is short and what to do; empty where nothing is."""
        if self.level is DiskLevel.GOOD:
            return ""
        if 0 < self.limit * _LOW_PART <= self.used:
            return (
                f"jobs and values use {_gb(self.used)} of the {_gb(self.limit)} that FLASH_DISK_LIMIT_GB allows; "
                "results go when their time is over (FLASH_KEEP_RESULTS_S); raise the limit if that is too late"
            )
        return f"the disk of FLASH_HOME has {_gb(self.free)} left; free some space, or set FLASH_HOME to another disk"


class Reserve:
    """A file that holds back room on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = RESERVE_BYTES

    def take(self) -> None:
        """Make the file, if the disk has room to spare for it."""
        with contextlib.suppress(OSError):
            space = shutil.disk_usage(self._path.parent)
            self.size = min(RESERVE_BYTES, int(space.total * _RESERVE_PART))
            if self._held() or space.free < 3 * self.size:
                return
            with open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "wb") as file:
                file.write(bytes(self.size))

    def give(self) -> bool:
        """Give the room back; whether there was any."""
        try:
            held = self._held()
            self._path.unlink()
        except OSError:
            return False
        logger.warning("the disk is full: the room that was held back is used up now")
        return held

    def _held(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > 0


class DiskGuard:
    """Says whether there is room.

    `used()` counts the bytes of the state; `limit` is its bound, 0: none. `clock` gives seconds and never goes back.
    """

    def __init__(
        self, folder: Path, used: Callable[[], int], limit: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._used = used
        self._limit = limit
        self._clock = clock
        self._said = ""
        self._plenty_until = clock()
        self.reserve = Reserve(folder / "reserve")

    def look(self) -> DiskUse:
        """What is used and free now."""
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError:
            free = 0
        return DiskUse(self._used(), self._limit, free, self.reserve.size)

    def admit(self) -> str:
        """Raise StoreFull where nothing new can be accepted; else say what is short, empty where nothing is."""
        use = self.look()
        if use.level is DiskLevel.FULL:
            raise StoreFull(f"nothing new is accepted, and what was accepted goes on: {use.said()}")
        return use.said()

    def admit_job(self) -> str:
        """The same for what is small and comes often: where there was plenty a moment ago, there is enough now."""
        now = self._clock()
        if now >= self._plenty_until:
            if self.look().level is not DiskLevel.GOOD:
                return self.admit()
            self._plenty_until = now + PLENTY_S
        return ""

    def watch(self) -> None:
        """Keep room back where there is some, and log it once when there is little left."""
        self.reserve.take()
        said = self.look().said()
        if said and not self._said:
            logger.warning("%s", said)
        self._said = said

    def to_json(self) -> dict[str, Any]:
        """As `flash status` shows it; sizes in bytes."""
        use = self.look()
        return {
            "level": str(use.level), "used": use.used, "limit": use.limit, "free": use.free, "message": use.said(),
        }  # fmt: skip


def _gb(count: int) -> str:
    return f"{count / 1024**3:.1f} GB" if count >= 1024**3 / 10 else f"{count / 1024**2:.1f} MB"
