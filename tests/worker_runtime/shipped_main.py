"""A script whose own classes and functions travel by value; what comes back must be of these classes."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from tests.worker_runtime.scripted_plane import Plane, by_value, instance_of
from worker_runtime.wire import payload
from worker_runtime.wire.jobs import ErrorKind

OFFSET = 1


class Colour(Enum):
    RED = 1


@dataclass
class Point:
    x: int
    colour: Colour = Colour.RED

    def moved(self) -> "Point":
        return Point(self.x + OFFSET)


class Oops(Exception):
    def __init__(self, point: Point) -> None:
        super().__init__(point)
        self.point = point


def move(point: Point) -> Point:
    assert isinstance(point, Point)
    return point.moved()


def fail(point: Point) -> None:
    raise Oops(point)


class Box:
    def __init__(self, point: Point) -> None:
        self.point = point

    def moved(self) -> Point:
        self.point = self.point.moved()
        return self.point

    def itself(self) -> "Box":
        return self


async def main(folder: Path) -> None:
    async with Plane(folder) as plane:
        moved = await plane.call(by_value(move), Point(1))
        assert type(moved) is Point, type(moved)
        assert moved == Point(2)
        assert moved.colour is Colour.RED
        failed: Any = await plane.call(by_value(fail), Point(3))
        assert failed.kind is ErrorKind.USER
        assert failed.type == "__main__.Oops"
        rebuilt = payload.decode(failed.exception)
        assert type(rebuilt) is Oops, type(rebuilt)
        assert rebuilt.point == Point(3)
        box = by_value(Box, kind="class")
        one = instance_of("one", Point(5))
        assert await plane.call(box, method="moved", instance=one) == Point(6)
        assert type(await plane.call(box, method="itself", instance=one)) is Box


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(prefix="fw-"))
    try:
        asyncio.run(main(place))
    finally:
        shutil.rmtree(place)
