"""What a user sees while calls wait: progress, the remote output, and notices.

`Output` takes the events of a platform (small dicts) and writes to the program's current stdout and stderr. How a text
looks is decided by plain functions; when it is written, by `Progress`, which knows no stream and no clock of its own.
A stream that is closed or broken never disturbs a call.
"""

import asyncio
import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

Logs = Literal["auto", "marked", "plain", "off"]
"""How remote output is shown: auto marks lines with the endpoint's name where a person looks at them."""

PATIENCE_S = 0.3  # a call that takes less shows no progress
_TICK_S = 0.1
_WORTH_SAYING_S = 1.0
_REPORT_EVERY_S = 10.0  # where lines stay
_BAR = 24  # cells
_CELLS = {True: "░█", False: ".#"}

_STAGES = {
    "provisioning": "provisioning",
    "queued": "queued",
    "building": "building the environment",
    "starting": "starting a worker",
    "running": "running",
}
_URGENCY = ("building", "starting", "provisioning", "queued", "running")  # what best explains a wait comes first


def stage_text(stage: str, detail: str = "", cause: str = "") -> str:
    """A stage in words: "building the environment (3 packages)", "queued: all workers are busy"."""
    text = _STAGES.get(stage, stage)
    if stage == "queued" and (cause or detail):
        return f"{text}: {_one_line(cause or detail)}"
    return f"{text} ({_one_line(detail)})" if detail else text


def elapsed_text(seconds: float) -> str:
    """A duration for people: "4.2 s", "2 min 05 s"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"


def progress_line(name: str, text: str, seconds: float, others: int = 0, *, dot: str = "·") -> str:
    """The line that a terminal shows: "infer · running · 4.2 s", with the number of other endpoints that wait."""
    parts = [name, text, elapsed_text(seconds), *([f"and {others} more"] if others else [])]
    return f" {dot} ".join(parts)


@dataclass(frozen=True, slots=True)
class Report:
    """How far a call says to be; several of one endpoint are added up."""

    done: float
    total: float | None
    message: str = ""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Report":
        """Read it from an event of the platform; what is no number counts as nothing."""
        done, total = event.get("done"), event.get("total")
        return cls(
            done if isinstance(done, int | float) else 0,
            total if isinstance(total, int | float) else None,
            _one_line(str(event.get("message") or "")),
        )

    def plus(self, other: "Report") -> "Report":
        """Both together, with the words of the other one."""
        total = None if self.total is None or other.total is None else self.total + other.total
        return Report(self.done + other.done, total, other.message)

    @property
    def share(self) -> float | None:
        """How much of it is done, 0 to 1; None where that cannot be told."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total else None


def report_text(report: Report, *, bar: str = "") -> str:
    """A report in words: "37/100 (37 %) resizing". `bar`: an empty and a full cell, for a bar in front of that."""
    share = report.share
    if share is None:
        text = f"{report.done:g}" + (f"/{report.total:g}" if report.total is not None else " done")
    else:
        text = f"{report.done:g}/{report.total:g} ({share:.0%})"
        if bar:
            full = round(share * _BAR)
            text = f"{bar[1] * full}{bar[0] * (_BAR - full)} {text}"
    return f"{text} {report.message}".rstrip()


def log_text(name: str, lines: list[str], *, marked: bool) -> str:
    """Remote lines as they are written here."""
    mark = f"[{name}] " if marked else ""
    return "".join(f"{mark}{line}\n" for line in lines)


def is_marked(logs: Logs, stream: str, *, person: bool) -> bool:
    """Whether remote lines carry the endpoint's name. `person`: the stream ends at a terminal or in a notebook."""
    if logs == "auto":
        return person or stream == "stderr"
    return logs == "marked"


@dataclass(slots=True)
class _Wait:
    """An endpoint that calls wait for. Times are those of the clock that the caller of `Progress` uses."""

    calls: int
    since: float
    stage: str
    text: str
    stage_since: float
    said: bool = False  # a plain line was written for this stage
    spoke: bool = False  # … or for an earlier one of this wait
    reports: dict[str, Report] = field(default_factory=dict)  # by job, the latest at the end
    report_said: float = 0.0  # when the last plain line told of them

    @property
    def report(self) -> Report | None:
        """How far the calls are altogether; None where none has said so."""
        return functools.reduce(Report.plus, self.reports.values()) if self.reports else None


class Progress:
    """Which endpoints are waited for, in which stage, since when; gives the texts to write."""

    def __init__(self) -> None:
        self._waits: dict[str, _Wait] = {}
        self._told: dict[str, tuple[str, str]] = {}  # what the platform said last; it speaks on changes only

    def begin(self, name: str, now: float, stage: str) -> None:
        """One more call waits for an endpoint."""
        wait = self._waits.get(name)
        if wait is None:
            self._waits[name] = _Wait(1, now, stage, stage_text(stage), now)
        else:
            wait.calls += 1

    def end(self, name: str, now: float) -> list[str]:
        """One call less waits. Returns plain lines."""
        wait = self._waits.get(name)
        if wait is None:
            return []
        wait.calls -= 1
        if wait.calls:
            return []
        del self._waits[name]
        return [] if wait.stage == "running" else _farewell(name, wait, now)

    def stage(self, name: str, stage: str, text: str, now: float) -> list[str]:
        """The platform says that an endpoint is in another stage. Returns plain lines."""
        self._told[name] = stage, text
        return self._enter(name, stage, text, now)

    def report(self, name: str, job: str, report: Report) -> None:
        """A call says how far it is."""
        wait = self._waits.get(name)
        if wait is not None:
            wait.reports.pop(job, None)
            wait.reports[job] = report

    def submitted(self, name: str, now: float) -> list[str]:
        """The platform has a call. It says nothing when a ready worker takes it at once, so silence means that."""
        if name in self._waits and self._waits[name].stage == "provisioning":
            return self._enter(name, *self._told.get(name, ("running", stage_text("running"))), now)
        return []

    def _enter(self, name: str, stage: str, text: str, now: float) -> list[str]:
        wait = self._waits.get(name)
        if wait is None:
            return []
        if wait.stage == stage:  # only its details changed: the same stage goes on, and one plain line is enough
            wait.text = text
            return []
        lines = _farewell(name, wait, now)
        wait.stage, wait.text, wait.stage_since, wait.said = stage, text, now, False
        return lines

    def line(self, now: float, *, utf: bool = True) -> str:
        """The line for a terminal, "" where nothing has waited long enough."""
        dot = "·" if utf else "-"
        waits = [(name, wait) for name, wait in self._waits.items() if now - wait.since >= PATIENCE_S]
        if not waits:
            return ""
        name, wait = min(waits, key=lambda item: (_urgency(item[1].stage), item[1].since))
        report = wait.report
        if report is not None:
            text = report_text(report, bar=_CELLS[utf])
            return progress_line(name, text, now - wait.since, len(waits) - 1, dot=dot)
        return progress_line(name, wait.text, now - wait.stage_since, len(waits) - 1, dot=dot)

    def lines(self, now: float) -> list[str]:
        """Plain lines for stages that have not been said yet."""
        found = []
        for name, wait in self._waits.items():
            if not wait.said and now - wait.since >= PATIENCE_S and _worth_a_line(wait, now):
                wait.said = wait.spoke = True
                found.append(f"{name}: {wait.text}")
            report = wait.report
            if report is not None and now - max(wait.since, wait.report_said) >= _REPORT_EVERY_S:
                wait.report_said = now
                found.append(f"{name}: {report_text(report)}")
        return found


@functools.cache
def of_program(logs: Logs = "auto") -> "Output":
    """The program's one output: it has one stdout and stderr, and says a notice once, on however many loops."""
    return Output(logs)


class Output:
    """Writes progress, remote output and notices of one program. May be used from several threads and loops."""

    def __init__(
        self, logs: Logs = "auto", *, progress: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logs = logs
        self._shows_progress = progress
        self._clock = clock
        self._progress = Progress()
        self._drawn = 0  # characters of the line that stands on the terminal
        self._noticed: set[str] = set()
        self._tickers: dict[asyncio.AbstractEventLoop, tuple[int, asyncio.TimerHandle]] = {}
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def waiting(self, name: str, stage: str = "provisioning") -> Iterator[None]:
        """While inside, a call waits for the endpoint `name` and progress is shown; an event loop keeps it moving."""
        with self._lock:
            self._progress.begin(name, self._clock(), stage)
            loop = self._start_ticking()
        try:
            yield
        finally:
            with self._lock:
                self._say(self._progress.end(name, self._clock()))
                self._stop_ticking(loop)
                self._draw("")

    def submitted(self, name: str) -> None:
        """The platform has taken a call for `name`."""
        with self._lock:
            self._say(self._progress.submitted(name, self._clock()))

    def stage(self, event: Mapping[str, Any]) -> None:
        """Show `{"event": "stage", "name", "stage", "detail", "cause"}`."""
        name, stage = str(event.get("name", "")), str(event.get("stage", ""))
        text = stage_text(stage, str(event.get("detail") or ""), str(event.get("cause") or ""))
        with self._lock:
            self._say(self._progress.stage(name, stage, text, self._clock()))
            self.tick()

    def progress(self, event: Mapping[str, Any]) -> None:
        """Show `{"event": "progress", "name", "job", "done", "total", "message"}`."""
        with self._lock:
            self._progress.report(str(event.get("name", "")), str(event.get("job", "")), Report.of(event))
            self.tick()

    def log(self, event: Mapping[str, Any]) -> None:
        """Write `{"event": "log", "name", "stream", "lines"}` to the stream of the same name."""
        if self._logs == "off":
            return
        stream = "stderr" if event.get("stream") == "stderr" else "stdout"
        target = sys.stderr if stream == "stderr" else sys.stdout
        marked = is_marked(self._logs, stream, person=_is_terminal(target) or _in_notebook())
        with self._lock:
            self._draw("")
            _write(target, log_text(str(event.get("name", "")), list(event.get("lines", ())), marked=marked))

    def notice(self, event: Mapping[str, Any]) -> None:
        """Say `{"event": "notice", "key", "name", "message"}` on stderr, once for each key."""
        name, message = str(event.get("name") or ""), str(event.get("message", ""))
        with self._lock:
            key = str(event.get("key") or message)
            if key not in self._noticed:
                self._noticed.add(key)
                self.say(f"{name}: {message}" if name and name not in message else message)

    def say(self, message: str) -> None:
        """Write "flash: message" to stderr."""
        with self._lock:
            self._draw("")
            _write(sys.stderr, f"flash: {message}\n")

    def line(self, text: str) -> None:
        """Write a line of the program's own to stdout."""
        with self._lock:
            self._draw("")
            _write(sys.stdout, f"{text}\n")

    def tick(self) -> None:
        """Bring what is shown up to date with the clock."""
        with self._lock:
            if not _is_terminal(sys.stderr):
                self._say(self._progress.lines(self._clock()))
            elif self._shows_progress:
                utf = "utf" in (getattr(sys.stderr, "encoding", None) or "").lower()
                self._draw(self._progress.line(self._clock(), utf=utf))

    def _say(self, lines: list[str]) -> None:
        if lines and self._shows_progress and not _is_terminal(sys.stderr):
            _write(sys.stderr, "".join(f"{line}\n" for line in lines))

    def _draw(self, line: str) -> None:
        """Put a line in the place of the one that stands there; "" clears."""
        if not line and not self._drawn:
            return
        line = line[: _width(sys.stderr) - 1]
        _write(sys.stderr, f"\r{line}{' ' * (self._drawn - len(line))}" + ("" if line else "\r"))
        self._drawn = len(line)

    def _start_ticking(self) -> asyncio.AbstractEventLoop | None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        calls, timer = self._tickers.get(loop) or (0, loop.call_later(_TICK_S, self._tick_on, loop))
        self._tickers[loop] = calls + 1, timer
        return loop

    def _tick_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self.tick()
        with self._lock:
            if loop in self._tickers:
                self._tickers[loop] = self._tickers[loop][0], loop.call_later(_TICK_S, self._tick_on, loop)

    def _stop_ticking(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop is None:
            return
        calls, timer = self._tickers.pop(loop)
        if calls > 1:
            self._tickers[loop] = calls - 1, timer
        else:
            timer.cancel()


def _farewell(name: str, wait: _Wait, now: float) -> list[str]:
    seconds = now - wait.stage_since
    return [f"{name}: {wait.text} took {elapsed_text(seconds)}"] if wait.said and seconds > _WORTH_SAYING_S else []


def _worth_a_line(wait: _Wait, now: float) -> bool:
    """Whether a stage is said where lines stay: not that each warm call runs, nor a queue of a moment."""
    if wait.stage == "running":
        return wait.spoke
    return wait.stage != "queued" or (now - wait.stage_since >= _WORTH_SAYING_S and wait.text != _STAGES["queued"])


def _in_notebook() -> bool:
    """Whether this program is the kernel of a notebook; its streams are no terminals, and people read them."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def _urgency(stage: str) -> int:
    return _URGENCY.index(stage) if stage in _URGENCY else len(_URGENCY)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError, OSError):  # closed, or somebody's own object
        return False


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (AttributeError, ValueError, OSError):
        return 80


def _write(stream: TextIO | None, text: str) -> None:
    """Write and flush. A reader that has gone, a closed stream or none at all must not disturb a call."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        try:
            stream.write(text)  # type: ignore[union-attr]
        except UnicodeEncodeError as error:
            stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))  # type: ignore[union-attr]
        stream.flush()  # type: ignore[union-attr]
