"""A program that makes the calls of one peer, in a process of its own: it is asked by lines of JSON, and answers so."""

import contextlib
import json
import selectors
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ANSWER = "ANSWER "
START_S, ASK_S, STOP_S = 90.0, 120.0, 30.0


class DriverFailed(Exception):
    """The program of a peer could not do what it was asked; the message has its last words."""


class Driver:
    """Such a program, from its start to its end. `log` gets what it writes to stderr."""

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str], log: Path) -> None:
        self.name = " ".join(Path(word).name for word in command[1:3])
        self._log = log
        self._rest = b""
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def started(self, timeout_s: float = START_S) -> Any:
        """Wait until it is ready; what it says of itself then."""
        return self._answer(timeout_s)

    def begin(self, what: str, **given: Any) -> None:
        """Ask; `finish` has the answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then there is no answer, and that is told
            self._process.stdin.write(json.dumps({"what": what, "given": given}).encode() + b"\n")
            self._process.stdin.flush()

    def finish(self, timeout_s: float = ASK_S) -> Any:
        """The answer to what was asked."""
        return self._answer(timeout_s)

    def ask(self, what: str, timeout_s: float = ASK_S, **given: Any) -> Any:
        """Ask and wait for the answer.

        Raises:
            DriverFailed: it could not do it, has ended, or takes longer.
        """
        self.begin(what, **given)
        return self.finish(timeout_s)

    def waits(self) -> bool:
        """Whether the answer has not begun to come."""
        with selectors.DefaultSelector() as selector:
            assert self._process.stdout is not None
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return not selector.select(0)

    def stop(self, patience_s: float = STOP_S) -> None:
        """Let it end by itself: nothing more is asked. It is killed where it does not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _answer(self, timeout_s: float) -> Any:
        for line in self._lines(timeout_s):
            if line.startswith(ANSWER):
                answer = json.loads(line.removeprefix(ANSWER))
                if "error" in answer:
                    raise DriverFailed(f"{self.name}: {answer['error']}")
                return answer["value"]
        raise DriverFailed(f"{self.name} has ended: {self._last_words()}")

    def _lines(self, timeout_s: float) -> Iterator[str]:
        """What it writes to stdout, until it ends."""
        assert self._process.stdout is not None
        end = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                while b"\n" in self._rest:
                    line, _, self._rest = self._rest.partition(b"\n")
                    yield line.decode(errors="replace")
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise DriverFailed(f"{self.name} has not answered within {timeout_s:.0f} s: {self._last_words()}")
                more = self._process.stdout.read1(1 << 20)  # type: ignore[attr-defined]
                if not more:
                    return
                self._rest += more

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-4:])[-600:] or "it said nothing"
