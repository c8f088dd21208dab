"""What a session says, to people and to programs."""

import json

import pytest

from flash_cli.builds.manifest import BuiltEndpoint
from flash_cli.dev import reporter as reporters
from flash_cli.dev.reporter import Reporter
from flash_cli.dev.state import State
from flash_cli.dev.table import Table
from flash_cli.dev.visits import Ended
from runpod_flash.output import Output
from worker_runtime.wire.interface import Interface

ADD = BuiltEndpoint("add", "function", "add.py", "add", {"type": "QUEUE"}, interface=Interface({"": ()}))
STATE = State(Table.of([ADD]))
DONE = Ended("request", "add", "POST", "/add/runsync", 200, 12, job="j", job_status="COMPLETED", run_ms=3)


def play(reporter: Reporter) -> None:
    reporter.serving("http://localhost:8888", "this machine", STATE)
    reporter.visited(DONE)
    reporter.event({"event": "log", "name": "add", "stream": "stdout", "lines": ["hello"]})
    reporter.event({"event": "log", "name": "add", "stream": "platform", "lines": ["worker w1 ended: killed"]})
    reporter.preparing({"event": "preparing", "endpoint": "add", "text": "2 packages"})
    reporter.preparing({"event": "preparing", "endpoint": "add", "text": "2 packages"})
    reporter.preparing({"event": "changing", "endpoint": "add", "text": "roll"})
    reporter.taken_up(State(), State(problem="two endpoints are called 'add'"), ["a secret was left out"], 0.1)
    reporter.say("goodbye")
    with reporter.waiting("add"):
        pass


def test_people_read_lines(capsys: pytest.CaptureFixture[str]) -> None:
    play(reporters.of(Output("marked"), as_json=False))
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "flash dev  http://localhost:8888  on this machine"
    assert "http://localhost:8888/add/runsync" in lines[1]
    assert "POST /add/runsync" in shown.out
    assert "[add] hello" in lines
    assert shown.err.splitlines() == [
        "flash: add: worker w1 ended: killed",
        "flash: add: 2 packages",
        "flash: a secret was left out",
        "flash: two endpoints are called 'add'",
        "flash: goodbye",
    ]


def test_programs_read_objects(capsys: pytest.CaptureFixture[str]) -> None:
    play(reporters.of(Output(), as_json=True))
    shown = capsys.readouterr()
    events = [json.loads(line) for line in shown.out.splitlines()]
    kinds = ["serving", "request", "log", "log", "preparing", "preparing", "changing", "taken-up", "said"]
    assert [event["event"] for event in events] == kinds
    assert events[0]["endpoints"] == [{"method": "POST", "path": "/add/runsync", "endpoint": "add", "kind": "function"}]
    assert events[7]["problem"] == "two endpoints are called 'add'"
    assert shown.err == ""
