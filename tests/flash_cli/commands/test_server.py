"""`flash server start|stop|status` with a real control plane."""

import json
import re
import socket
from pathlib import Path

import psutil
import pytest

from flash_cli.commands.server import Wanted
from runpod_flash.state_folder import PlaneRecord
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


@pytest.mark.slow
def test_a_control_plane_that_was_killed_does_not_run(place: Place) -> None:
    place.flash("server", "start").good()
    pid = json.loads(place.flash("server", "status", "--json").good().stdout)["planes"][0]["pid"]
    psutil.Process(pid).kill()
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)

    assert place.flash("server", "status").status == 3
    assert "started" in place.flash("server", "start").good().stdout


def test_what_is_wanted_becomes_settings() -> None:
    wanted = Wanted(80, "h:1", Path("cert"), Path("/key"), insecure=True)
    assert wanted.environ({"A": "1", "FLASH_PORT": "2"}) == {
        "A": "1",
        "FLASH_PORT": "80",
        "FLASH_LISTEN": "h:1",
        "FLASH_TLS_CERT": str(Path.cwd() / "cert"),
        "FLASH_TLS_KEY": "/key",
        "FLASH_INSECURE": "1",
    }
    assert Wanted().environ({"FLASH_LISTEN": "h:1"}) == {"FLASH_LISTEN": "h:1"}


@pytest.mark.parametrize(
    ("wanted", "url", "missing"),
    [
        (Wanted(), "", ""),
        (Wanted(1), "", ""),
        (Wanted(2), "", "on port 1; stop it first with `flash server stop` to have it on port 2"),
        (Wanted(listen="h:1"), "http://h:1", ""),
        (Wanted(listen="h:1", tls_cert=Path("c")), "https://h:1", ""),
        (Wanted(listen="h:1", tls_cert=Path("c")), "http://h:1", "listening on http://h:1; stop it first"),
        (Wanted(listen="h:2"), "http://h:1", "listening on http://h:1; stop it first"),
        (Wanted(listen="h:1"), "", "for this user only; stop it first"),
        (Wanted(), "http://h:1", ""),
    ],
)
def test_what_one_that_runs_lacks(wanted: Wanted, url: str, missing: str) -> None:
    record = PlaneRecord(1, 1.0, "v", "c", 1, 1, "s", "w", url=url)
    assert wanted.missing(record).startswith(missing)
    assert bool(wanted.missing(record)) is bool(missing)


def test_in_the_foreground_one_that_runs_already_is_told(place: Place) -> None:
    place.flash("server", "start").good()
    second = place.flash("server", "start", "--foreground")
    assert second.status == 1
    assert "another control plane already runs" in second.stderr
