"""What is written, to which stream, when."""

import asyncio
import io
import sys
import types
from collections.abc import Callable

import pytest

from runpod_flash.output import (
    Logs,
    Output,
    Progress,
    Report,
    elapsed_text,
    is_marked,
    log_text,
    progress_line,
    report_text,
    stage_text,
)
from tests.support.waiting import wait_until


class Terminal(io.StringIO):
    """A stream that says it is a terminal; `shown` is what a person would see on it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> list[str]:
        rows = []
        for written in self.getvalue().split("\n"):
            row = ""
            for part in written.split("\r"):
                row = part + row[len(part) :]
            rows.append(row.rstrip())
        return rows


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Streams = tuple[io.StringIO, io.StringIO]


@pytest.fixture
def to_pipes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Streams]:
    """Called in the test (pytest sets its own streams after fixtures): stdout and stderr that are no terminals."""

    def replace() -> Streams:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return replace


@pytest.fixture
def to_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Called in the test: stdout and stderr on one terminal."""

    def replace() -> Terminal:
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return replace


def stage(name: str, kind: str, detail: str = "", cause: str = "") -> dict[str, str]:
    return {"event": "stage", "name": name, "stage": kind, "detail": detail, "cause": cause}


def log(*lines: str, stream: str = "stdout", name: str = "infer") -> dict[str, object]:
    return {"event": "log", "name": name, "stream": stream, "lines": list(lines)}


def test_texts() -> None:
    assert stage_text("building", "3 packages") == "building the environment (3 packages)"
    assert stage_text("queued", cause="all\nworkers busy") == "queued: all workers busy"
    assert stage_text("starting", cause="a worker starts") == "starting a worker"
    assert stage_text("starting the control plane") == "starting the control plane"
    assert elapsed_text(4.21) == "4.2 s"
    assert elapsed_text(59.96) == "1 min 00 s"
    assert elapsed_text(125.4) == "2 min 05 s"
    assert progress_line("infer", "running", 4.2) == "infer · running · 4.2 s"
    assert progress_line("infer", "running", 4.2, 2, dot="-") == "infer - running - 4.2 s - and 2 more"
    assert log_text("infer", ["a", "b"], marked=True) == "[infer] a\n[infer] b\n"
    assert log_text("infer", ["a", ""], marked=False) == "a\n\n"


@pytest.mark.parametrize(
    ("logs", "stream", "person", "marked"),
    [
        ("auto", "stdout", True, True),
        ("auto", "stdout", False, False),
        ("auto", "stderr", False, True),
        ("marked", "stdout", False, True),
        ("plain", "stderr", True, False),
    ],
)
def test_marks(logs: Logs, stream: str, person: bool, marked: bool) -> None:
    assert is_marked(logs, stream, person=person) is marked


def test_a_quick_call_shows_nothing(to_pipes: Callable[[], Streams], clock: Clock) -> None:
    _, err = to_pipes()
    output = Output(clock=clock)
    with output.waiting("infer"):
        clock.now += 0.29
        output.stage(stage("infer", "building", "3 packages"))
        output.tick()
    assert err.getvalue() == ""


def test_plain_lines_for_each_stage(to_pipes: Callable[[], Streams], clock: Clock) -> None:
    out, err = to_pipes()
    output = Output(clock=clock)
    with output.waiting("infer"):
        output.submitted("infer")
        output.stage(stage("infer", "building", "3 packages"))
        clock.now += 0.4
        output.tick()
        output.stage(stage("infer", "building", "2 packages"))
        output.tick()
        output.stage(stage("infer", "building", "3 packages"))
        clock.now += 3.8
        output.stage(stage("infer", "starting", cause="a worker starts"))
        clock.now += 0.5
        output.stage(stage("infer", "running"))
        clock.now += 100
    assert out.getvalue() == ""
    assert err.getvalue().splitlines() == [
        "infer: building the environment (3 packages)",
        "infer: building the environment (3 packages) took 4.2 s",
        "infer: starting a worker",
        "infer: running",
    ]


def test_warm_calls_and_short_queues_leave_no_lines(to_pipes: Callable[[], Streams], clock: Clock) -> None:
    _, err = to_pipes()
    output = Output(clock=clock)
    for _ in range(3):
        with output.waiting("infer"):
            output.submitted("infer")
            clock.now += 5
            output.tick()
    assert err.getvalue() == ""


def test_queued_is_said_with_its_cause(to_pipes: Callable[[], Streams], clock: Clock) -> None:
    _, err = to_pipes()
    output = Output(clock=clock)
    with output.waiting("infer"):
        clock.now += 1
        output.stage(stage("infer", "queued", cause="no GPU is free"))
        assert err.getvalue() == ""  # queues come and go while many calls run
        clock.now += 1
        output.tick()
    assert err.getvalue() == "infer: queued: no GPU is free\n"


def test_a_terminal_shows_one_line_that_goes_away(to_terminal: Callable[[], Terminal], clock: Clock) -> None:
    terminal = to_terminal()
    output = Output(clock=clock)
    with output.waiting("infer"):
        output.stage(stage("infer", "building", "3 packages"))
        clock.now += 4.2
        output.tick()
        assert terminal.shown == ["infer · building the environment (3 packages) · 4.2 s"]
        output.stage(stage("infer", "running"))
        assert terminal.shown == ["infer · running · 0.0 s"]
        output.log(log("hello"))
        assert terminal.shown == ["[infer] hello", ""]
        clock.now += 1
        output.tick()
        assert terminal.shown == ["[infer] hello", "infer · running · 1.0 s"]
    assert terminal.shown == ["[infer] hello", ""]


def test_the_most_relevant_endpoint_is_shown(clock: Clock) -> None:
    progress = Progress()
    for name, kind in (("a", "running"), ("b", "building"), ("c", "queued")):
        progress.begin(name, clock(), "provisioning")
        progress.stage(name, kind, stage_text(kind), clock())
    assert progress.line(clock() + 1) == "b · building the environment · 1.0 s · and 2 more"
    progress.end("b", clock())
    assert progress.line(clock() + 1).startswith("c · queued")


def test_many_calls_of_one_endpoint_are_one_wait(clock: Clock) -> None:
    progress = Progress()
    for _ in range(300):
        progress.begin("infer", clock(), "provisioning")
    for _ in range(299):
        progress.end("infer", clock())
    assert progress.line(clock() + 1) == "infer · provisioning · 1.0 s"
    progress.end("infer", clock())
    progress.end("infer", clock())
    assert progress.line(clock() + 1) == ""


def test_what_the_platform_said_before_still_holds(clock: Clock) -> None:
    """It speaks on changes only: a second call that meets the same build hears nothing new."""
    progress = Progress()
    progress.begin("infer", clock(), "provisioning")
    progress.stage("infer", "building", "building it", clock())
    progress.end("infer", clock())
    progress.begin("infer", clock(), "provisioning")
    progress.submitted("infer", clock())
    assert "building it" in progress.line(clock() + 1)


def test_progress_moves_by_itself_on_a_loop(to_terminal: Callable[[], Terminal]) -> None:
    terminal = to_terminal()

    async def wait() -> None:
        with output.waiting("infer"):
            await asyncio.to_thread(wait_until, lambda: "infer · provisioning" in terminal.getvalue(), 5)

    output = Output()
    asyncio.run(wait())
    asyncio.run(wait())
    assert terminal.shown == [""]
    assert output._tickers == {}


def test_a_narrow_terminal_gets_a_short_line(to_terminal: Callable[[], Terminal], clock: Clock) -> None:
    terminal = to_terminal()
    output = Output(clock=clock)
    with output.waiting("x" * 500):
        clock.now += 1
        output.tick()
        assert len(terminal.shown[0]) == 79


def test_logs_go_to_their_streams(to_pipes: Callable[[], Streams]) -> None:
    out, err = to_pipes()
    output = Output()
    output.log(log("one", "two"))
    output.log(log("oops", stream="stderr"))
    assert out.getvalue() == "one\ntwo\n"
    assert err.getvalue() == "[infer] oops\n"


def test_off_shows_no_logs(to_pipes: Callable[[], Streams]) -> None:
    out, _ = to_pipes()
    Output("off").log(log("one"))
    assert out.getvalue() == ""


def test_a_notebook_marks_lines(to_pipes: Callable[[], Streams], monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = to_pipes()
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    Output().log(log("one"))
    assert out.getvalue() == "[infer] one\n"


def test_a_notice_is_said_once(to_pipes: Callable[[], Streams]) -> None:
    _, err = to_pipes()
    output = Output()
    for _ in range(2):
        output.notice(
            {"event": "notice", "key": "no-gpu", "name": "infer", "message": "no GPU here, so it runs on the CPU"}
        )
    output.notice({"event": "notice", "key": "other", "name": "infer", "message": "infer uses an L4"})
    assert err.getvalue().splitlines() == [
        "flash: infer: no GPU here, so it runs on the CPU",
        "flash: infer uses an L4",
    ]


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_broken_closed_and_missing_streams_disturb_nobody(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (Broken(), closed, None):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        output = Output(clock=clock)
        with output.waiting("infer"):
            clock.now += 1
            output.tick()
            output.log(log("one"))
            output.say("two")


def test_a_stream_without_the_letters_gets_others(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Output().log(log("naïve"))
    assert raw.getvalue() == b"na\\xefve\n"


# ---- what functions say


def said(done: float, total: float | None = None, message: str = "", job: str = "j") -> dict[str, object]:
    return {"event": "progress", "name": "infer", "job": job, "done": done, "total": total, "message": message}


@pytest.mark.parametrize(
    ("report", "bar", "text"),
    [
        (Report(37, 100, "resizing"), "", "37/100 (37%) resizing"),
        (Report(1, 4), ".#", "######.................. 1/4 (25%)"),
        (Report(5, 4), ".#", "######################## 5/4 (100%)"),
        (Report(-1, 4), ".#", "........................ -1/4 (0%)"),
        (Report(7, None, "files"), ".#", "7 done files"),
        (Report(0, 0), ".#", "0/0"),
    ],
)
def test_reports_in_words(report: Report, bar: str, text: str) -> None:
    assert report_text(report, bar=bar) == text


def test_a_bar_on_a_terminal(to_terminal: Callable[[], Terminal], clock: Clock) -> None:
    terminal, output = to_terminal(), Output(clock=clock)
    with output.waiting("infer", "running"):
        output.progress(said(1, 4))
        assert terminal.shown == [""]  # a quick call shows nothing
        clock.now += 1
        output.progress(said(2, 4, "two\nlines"))
        assert terminal.shown == ["infer · ████████████░░░░░░░░░░░░ 2/4 (50%) two lines · 1.0 s"]
        output.progress(said(1, 4, job="k"))
        assert "3/8 (38%)" in terminal.shown[0]  # of both jobs
    assert terminal.shown == [""]


def test_reports_are_lines_that_come_rarely_where_lines_stay(to_pipes: Callable[[], Streams], clock: Clock) -> None:
    (_, err), output = to_pipes(), Output(clock=clock)
    with output.waiting("infer", "running"):
        for number in range(25):
            clock.now += 1
            output.progress(said(number, 25))
    assert err.getvalue() == "infer: 9/25 (36%)\ninfer: 19/25 (76%)\n"


def test_reports_of_what_nobody_waits_for_are_left_alone(to_pipes: Callable[[], Streams], clock: Clock) -> None:
    (_, err), output = to_pipes(), Output(clock=clock)
    output.progress(said(1, 2))
    output.progress({"event": "progress", "done": "x", "total": []})
    assert err.getvalue() == ""
