"""Asking a control plane: what goes wrong, as the user hears it."""

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flash_cli import plane
from runpod_flash.errors import AuthError, BackendError, BackendUnavailable
from runpod_flash.state_folder import PlaneRecord, StateFolder, process_started


class Answers(BaseHTTPRequestHandler):
    """A server that is no control plane: `status` and `body` are what it says."""

    status, body, seen = 200, b"{}", ""

    def do_GET(self) -> None:
        type(self).seen = f"{self.path} {self.headers['Authorization']}"
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    state = StateFolder(tmp_path, "c" * 64)
    state.plane.mkdir(parents=True)
    state.key_path.write_text("the-key")
    return state


def record(state: StateFolder, port: int) -> PlaneRecord:
    """A control plane that runs in this process, by the look of it."""
    started = process_started(os.getpid()) or 0.0
    missing = str(state.home / "no.sock")
    return PlaneRecord(os.getpid(), started, "2.0.0", state.content, 1, port, missing, missing)


def test_the_key_is_sent_and_the_answer_returned(state: StateFolder, port: int) -> None:
    Answers.status, Answers.body = 200, b'{"endpoints": []}'
    assert plane.overview(state, record(state, port)) == {"endpoints": []}
    assert Answers.seen == "/flash/v1/status Bearer the-key"


@pytest.mark.parametrize(
    ("status", "body", "error", "named"),
    [
        (401, b"", AuthError, "refuses the key"),
        (500, b"", BackendError, "500"),
        (200, b"<html>", BackendError, "cannot say"),
        (200, b"1", BackendError, "cannot say"),
        (404, b"{}", BackendError, "cannot say"),
    ],
    ids=["key", "failure", "no JSON", "no object", "no route"],
)
def test_other_answers_are_errors(
    state: StateFolder, port: int, status: int, body: bytes, error: type[BackendError], named: str
) -> None:
    Answers.status, Answers.body = status, body
    with pytest.raises(error, match=named):
        plane.overview(state, record(state, port))


def test_silence_is_an_error_that_says_what_to_do(state: StateFolder) -> None:
    with HTTPServer(("127.0.0.1", 0), Answers) as closed:
        port = closed.server_port
    with pytest.raises(BackendUnavailable, match="flash server stop"):
        plane.overview(state, record(state, port))
