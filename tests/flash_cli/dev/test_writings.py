"""What workers write: of endpoints as they come and go, once, also where the target was away."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

from flash_cli.dev.writings import Writings
from runpod_flash.backends.base import Look
from runpod_flash.errors import BackendUnavailable, EndpointNotFound
from tests.support.balanced import until


class Lines:
    """A platform's lines by endpoint: those that were written, and those to come."""

    def __init__(self) -> None:
        self.written: dict[str, list[Mapping[str, Any]]] = {}
        self.asked: list[tuple[str, float]] = []
        self.changed = asyncio.Event()
        self.away = False
        self.refused = 0

    def write(self, endpoint: str, text: str, when: float) -> None:
        line = {"time": when, "job": "j", "worker": "w", "stream": "stdout", "line": text}
        self.written.setdefault(endpoint, []).append(line)
        self.changed.set()

    async def lines_of_endpoint(
        self, endpoint_id: str, take: Callable[[Mapping[str, Any]], None], *, since: float, follow: bool
    ) -> None:
        assert follow
        self.asked.append((endpoint_id, since))
        told = 0
        while True:
            if self.away:
                self.refused += 1
                raise BackendUnavailable("away")
            if endpoint_id not in self.written:
                raise EndpointNotFound("gone")
            found = [line for line in self.written[endpoint_id] if line["time"] > since]
            for line in found[told:]:
                take(line)
            told = len(found)
            self.changed.clear()
            await self.changed.wait()


def test_endpoints_are_followed_as_they_come_and_go() -> None:
    async def test() -> None:
        lines, told = Lines(), list[tuple[str, str]]()
        writings = Writings(cast(Look, lines), lambda event: told.append((event["name"], event["lines"][0])))
        lines.write("1", "old", 1.0)
        lines.write("2", "two", 1.0)
        writings.follow({"a": "1", "b": "2"})
        await until(lambda: len(told) == 2)
        writings.follow({"a": "1"})
        lines.write("2", "not heard", 2.0)
        lines.write("1", "new", 2.0)
        await until(lambda: ("a", "new") in told)
        writings.follow({"a": "1"})
        await writings.close()
        assert sorted(told) == [("a", "new"), ("a", "old"), ("b", "two")]
        assert sorted(lines.asked) == [("1", 0.0), ("2", 0.0)]

    asyncio.run(asyncio.wait_for(test(), 30))


def test_after_an_absence_it_goes_on_where_it_was() -> None:
    async def test() -> None:
        lines, told = Lines(), list[str]()
        writings = Writings(cast(Look, lines), lambda event: told.append(event["lines"][0]))
        lines.write("1", "first", 1.0)
        writings.follow({"a": "1"})
        await until(lambda: told)
        lines.away = True
        lines.write("1", "missed", 2.0)
        await until(lambda: lines.refused)
        lines.away = False
        await until(lambda: len(told) == 2)
        await writings.close()
        assert told == ["first", "missed"]
        assert lines.asked == [("1", 0.0), ("1", 1.0)]

    asyncio.run(asyncio.wait_for(test(), 30))
