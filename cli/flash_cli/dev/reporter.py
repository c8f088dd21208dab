"""What a session says: for people, through the program's one output; for programs, a JSON object a line on stdout."""

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from flash_cli import console
from flash_cli.dev import lines
from flash_cli.dev.state import State
from flash_cli.dev.visits import Ended
from runpod_flash.output import Output


class Reporter(Protocol):
    """Where a session's words go."""

    def serving(self, url: str, target: str, state: State) -> None:
        """The server answers at `url`."""

    def waiting(self, endpoint: str) -> AbstractContextManager[object]:
        """While inside, a request waits for an endpoint."""

    def visited(self, ended: Ended) -> None:
        """A request was answered, or a job has ended."""

    def taken_up(self, before: State, now: State, warnings: Sequence[str], took_s: float) -> None:
        """An edit is live, or as far as it can be."""

    def event(self, event: Mapping[str, Any]) -> None:
        """The target says something: output of workers, stages, notices."""

    def preparing(self, event: Mapping[str, Any]) -> None:
        """How far a deploy is."""

    def say(self, text: str) -> None:
        """Anything else that a person should know."""


class ForPeople:
    """Lines on stdout, notices on stderr; output of workers where they wrote it, with the endpoint's name."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._utf = "utf" in (getattr(sys.stdout, "encoding", None) or "").lower()
        self._width = 0
        self._prepared = ""

    def serving(self, url: str, target: str, state: State) -> None:
        self._measure(state)
        self._output.line(f"flash dev  {url}  on {target}")
        for line in lines.address_lines(url, state.table.lines()):
            self._output.line(line)
        self._output.line(f"  docs: {url}/docs   job API by name: {url}/v2/ENDPOINT   stop: Ctrl-C")

    def waiting(self, endpoint: str) -> AbstractContextManager[object]:
        # where lines stay, the request's own says it in the end
        return self._output.waiting(endpoint, "running") if sys.stderr.isatty() else nullcontext()

    def visited(self, ended: Ended) -> None:
        text = lines.request_line(ended, time.time(), utf=self._utf, endpoints_width=self._width)
        self._output.line(text)

    def taken_up(self, before: State, now: State, warnings: Sequence[str], took_s: float) -> None:
        self._measure(now)
        for warning in warnings:
            self._output.notice({"key": warning, "message": warning})
        for text in lines.change_lines(before, now, took_s):
            self._output.say(text)

    def event(self, event: Mapping[str, Any]) -> None:
        kind = event.get("event")
        if kind == "log" and event.get("stream") == "platform":
            for line in event.get("lines", ()):
                self._output.say(f"{event.get('name')}: {line}")
        elif kind == "log":
            self._output.log(event)
        elif kind == "notice":
            self._output.notice(event)
        elif kind == "stage":
            self._output.stage(event)
        elif kind == "progress":
            self._output.progress(event)

    def preparing(self, event: Mapping[str, Any]) -> None:
        if event.get("event") != "preparing":
            return
        text = " ".join(str(event.get("text") or "").split())
        said = f"{event.get('endpoint') or ''}: {text}".removeprefix(": ")
        if text and said != self._prepared:
            self._prepared = said
            self._output.say(said)

    def say(self, text: str) -> None:
        self._output.say(text)

    def _measure(self, state: State) -> None:
        self._width = min(max(map(len, state.table.endpoints), default=0), 24)


class ForPrograms:
    """Everything as JSON, an object a line."""

    def serving(self, url: str, target: str, state: State) -> None:
        endpoints = [
            {"method": line.method, "path": line.path, "endpoint": line.endpoint.name, "kind": line.endpoint.kind}
            for line in state.table.lines()
        ]
        _write({"event": "serving", "url": url, "target": target, "endpoints": endpoints})

    def waiting(self, endpoint: str) -> AbstractContextManager[object]:
        return nullcontext()

    def visited(self, ended: Ended) -> None:
        _write(lines.as_event(ended))

    def taken_up(self, before: State, now: State, warnings: Sequence[str], took_s: float) -> None:
        broken = dict(now.files) | dict(now.broken)
        endpoints = sorted(now.table.endpoints)
        took_ms = round(took_s * 1000)
        told = {"endpoints": endpoints, "broken": broken, "problem": now.problem or None, "tookMs": took_ms}
        _write({"event": "taken-up", **told})

    def event(self, event: Mapping[str, Any]) -> None:
        if event.get("event") in ("log", "notice", "stage", "progress"):
            _write(event)

    def preparing(self, event: Mapping[str, Any]) -> None:
        _write(event)

    def say(self, text: str) -> None:
        _write({"event": "said", "text": text})


def _write(event: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError, ValueError):  # a reader that has gone disturbs nothing
        console.line(event)


def of(output: Output, *, as_json: bool) -> Reporter:
    """The reporter that was asked for."""
    return ForPrograms() if as_json else ForPeople(output)
