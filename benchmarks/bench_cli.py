"""How long the command takes: help, builds, a deploy that changes nothing, an edit in dev; beside `pip --help`.

All happens in one run, in a project of `flash init`, in a temporary folder with a control plane of its own.
"""

import contextlib
import json
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from timing import median_ms, report

ROUNDS = 7
EDITS = 5
DEADLINE_S = 120.0
PAUSE_S = 0.002


class Bench:
    """A new project, and the ways to run programs in it."""

    def __init__(self, folder: Path) -> None:
        self.python = ["env", "-u", "FLASH_TARGET", f"FLASH_HOME={folder / 'home'}", sys.executable]
        self.project = folder
        self.flash("init", "demo")
        self.project = folder / "demo"

    def run(self, *command: str) -> None:
        """Run a program to its end; one that fails ends the measurement."""
        done = subprocess.run([*self.python, *command], cwd=self.project, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")

    def flash(self, *arguments: str) -> None:
        """Run the command."""
        self.run("-m", "flash_cli", *arguments)

    def flash_ms(self, *arguments: str, rounds: int = 1) -> float:
        """How long the command takes."""
        return median_ms(lambda: self.flash(*arguments), rounds)

    @contextlib.contextmanager
    def dev(self) -> Iterator[str]:
        """`flash dev`; the URL of its function."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [*self.python, "-m", "flash_cli", "dev", "--port", str(port)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=self.project, **quiet) as process:
            try:
                yield f"http://127.0.0.1:{port}/cpu_worker/runsync"
            finally:
                process.send_signal(signal.SIGINT)

    def edit(self, number: int) -> None:
        """Let the function say another number."""
        path = self.project / "cpu_worker.py"
        text = re.sub(r"return .*", f'return {{"number": {number}}}', path.read_text())
        path.write_text(text)


def asked(url: str) -> object:
    """What the function answers; None while it cannot be asked."""
    body = json.dumps({"input": {"text": "a"}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return json.load(answer).get("output")
    except OSError:
        return None


def until(url: str, wanted: object) -> None:
    """Ask until this is the answer."""
    end = time.monotonic() + DEADLINE_S
    while asked(url) != wanted:
        if time.monotonic() > end:
            raise SystemExit(f"flash dev did not answer {wanted} within {DEADLINE_S:.0f} s")
        time.sleep(PAUSE_S)


def edit_to_result_ms(bench: Bench) -> float:
    """From the end of writing a file to the first answer of the new code; the median of several edits."""
    times = []
    bench.edit(0)
    with bench.dev() as url:
        until(url, {"number": 0})
        for number in range(1, EDITS + 1):
            bench.edit(number)
            start = time.perf_counter()
            until(url, {"number": number})
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def main() -> None:
    """Measure and print. The goals: help 150 ms, a deploy of no change 2 s, an edit 1 s, or less."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for command in (["-c", "pass"], ["-m", "pip", "--help"], ["-m", "flash_cli", "--help"]):
            bench.run(*command)  # byte code is written, files are in memory
        nothing = median_ms(lambda: bench.run("-c", "pass"), ROUNDS)
        pip = median_ms(lambda: bench.run("-m", "pip", "--help"), ROUNDS)
        figures = {
            "help_ms": bench.flash_ms("--help", rounds=ROUNDS),
            "version_ms": bench.flash_ms("--version", rounds=ROUNDS),
            "build_cold_ms": bench.flash_ms("build"),
            "build_again_ms": bench.flash_ms("build", rounds=ROUNDS),
        }
        try:
            figures["deploy_first_ms"] = bench.flash_ms("deploy", "--yes")
            figures["deploy_no_change_ms"] = bench.flash_ms("deploy", "--yes", rounds=ROUNDS)
            figures["edit_to_result_ms"] = edit_to_result_ms(bench)
        finally:
            bench.flash("server", "stop")
    ratios = {f"{name.removesuffix('_ms')}_ratio": value / pip for name, value in figures.items()}
    report("cli", {**figures, **ratios, "pass_ms": nothing, "pip_help_ms": pip, "rounds": ROUNDS})


if __name__ == "__main__":
    main()
