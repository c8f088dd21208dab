"""`flash server start|stop|status` with a real control plane."""

import json
import re
import socket

import psutil

from tests.support.place import Place
from tests.support.processes import processes_of


def test_none_runs(place: Place) -> None:
    shown = place.flash("server", "status")
    assert (shown.status, shown.stderr) == (3, "")
    assert "no control plane runs" in shown.stdout
    as_json = place.flash("server", "status", "--json")
    assert as_json.status == 3
    assert json.loads(as_json.stdout) == {"running": False, "home": str(place.home), "planes": []}
    assert place.flash("server", "stop").good().stdout == "no control plane runs\n"


def test_start_status_stop(place: Place) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    started = place.flash("server", "start", "--port", str(port)).good()
    assert f"http://127.0.0.1:{port}" in started.stdout
    assert re.search(r"started \(process \d+\)", started.stdout)

    status = json.loads(place.flash("server", "status", "--json").good().stdout)
    (shown,) = status["planes"]
    assert status["running"]
    assert shown["answers"]
    assert shown["port"] == port
    assert psutil.pid_exists(shown["pid"])

    again = place.flash("server", "start").good()
    assert f"runs already (process {shown['pid']})" in again.stdout

    other = place.flash("server", "start", "--port", str(port - 1))
    assert other.status == 1
    assert "flash server stop" in other.stderr

    stopped = place.flash("server", "stop").good()
    assert stopped.stdout == f"control plane stopped (process {shown['pid']})\n"
    assert processes_of(place.home) == []
    assert place.flash("server", "status").status == 3


def test_a_port_in_use_is_said_and_nothing_is_left(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = place.flash("server", "start", "--port", str(port))
    assert finished.status == 1
    assert str(port) in finished.stderr
    assert "Traceback" not in finished.stderr
    assert processes_of(place.home) == []


def test_a_control_plane_that_was_killed_does_not_run(place: Place) -> None:
    place.flash("server", "start").good()
    pid = json.loads(place.flash("server", "status", "--json").good().stdout)["planes"][0]["pid"]
    psutil.Process(pid).kill()
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)

    assert place.flash("server", "status").status == 3
    assert "started" in place.flash("server", "start").good().stdout
