"""A place of its own for a test: a state folder, a project folder and a way to run programs there."""

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from flash_cli import plane
from runpod_flash.backends import daemon
from runpod_flash.release import content_hash
from runpod_flash.state_folder import StateFolder
from tests.support.processes import end_processes, no_process_left, processes_of

ROOT = Path(__file__).resolve().parents[2]
"""The root of the repository."""

KEPT = (
    "HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "SSL_CERT_FILE", "PYTHONWARNINGS", "NVIDIA_VISIBLE_DEVICES",
    "FLASH_PUBLISHED_ONLY",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program left: its exit status and its two streams as text."""

    status: int
    stdout: str
    stderr: str

    def good(self) -> "Finished":
        """This, or a failure that shows both streams when the program failed."""
        assert self.status == 0, f"exit status {self.status}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"
        return self


@dataclass(frozen=True, slots=True)
class Place:
    """A state folder (FLASH_HOME) and a project folder. Programs run here see no other."""

    home: Path
    project: Path

    @classmethod
    def below(cls, folder: Path) -> "Place":
        """Make both folders in `folder`."""
        place = cls(folder / "home", folder / "project")
        place.home.mkdir(parents=True, exist_ok=True)
        place.project.mkdir(parents=True, exist_ok=True)
        return place

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of programs run here: an allow-list, pip's settings, FLASH_HOME and `extra`."""
        kept = {key: value for key, value in os.environ.items() if key in KEPT or key.startswith(("PIP_", "COVERAGE_"))}
        return {**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}", "FLASH_HOME": str(self.home), **(extra or {})}

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project; common indentation is removed."""
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def start(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        python: str = sys.executable,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[str]:
        """Start `python ARGUMENTS…` here, its streams as text pipes. The caller ends it."""
        return subprocess.Popen(
            [python, *arguments],
            cwd=cwd or self.project,
            env=self.env(env),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        python: str = sys.executable,
        stdin: str | None = None,
        timeout_s: float = 90.0,
    ) -> Finished:
        """Run `python ARGUMENTS…` here to its end, fed with `stdin`. Kills it and fails after `timeout_s` seconds."""
        process = self.start(
            arguments, env=env, cwd=cwd, python=python, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE
        )
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            shown = f"--- stdout\n{stdout}\n--- stderr\n{stderr}"
            raise AssertionError(f"not finished within {timeout_s} s\n{shown}") from None
        return Finished(process.returncode, stdout, stderr)

    def run_script(
        self,
        text: str,
        *,
        name: str = "script.py",
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        timeout_s: float = 90.0,
    ) -> Finished:
        """Write `text` as a file of the project and run it to its end."""
        path = self.write(name, text)
        return self.run([str(path), *arguments], env=env, python=python, timeout_s=timeout_s)

    def venv(self, folder: Path, packages: Sequence[str], base: str = sys.executable) -> str:
        """Make a virtual environment with this project and `packages`; returns its interpreter."""
        uv, python = find_uv_bin(), str(folder / "bin" / "python")
        subprocess.run([uv, "venv", "-q", "--python", base, str(folder)], check=True, capture_output=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", python, "-e", str(ROOT), *packages], check=True)
        return python

    def flash(self, *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> Finished:
        """Run the `flash` command here."""
        return self.run(["-m", "flash_cli", *arguments], env=env, timeout_s=timeout_s)

    @contextlib.contextmanager
    def flash_running(self, *arguments: str, env: Mapping[str, str] | None = None) -> "Iterator[subprocess.Popen[str]]":
        """Run the `flash` command beside the test; what a failed test leaves of it is killed."""
        with self.start(["-m", "flash_cli", *arguments], env=env) as process:
            try:
                yield process
            finally:
                process.kill()

    def endpoints(self) -> list[dict[str, Any]]:
        """What `flash status` says of each endpoint of this state folder, asked without that program."""
        said = [plane.overview(*each) for each in daemon.all_running(self._state)]
        return [endpoint for each in said for endpoint in each["endpoints"]]

    def serve(self) -> None:
        """Start the control plane if it does not run: what `flash server start` does, without that program."""
        asyncio.run(daemon.ensure(self._state, self.env()))

    def close(self) -> None:
        """Stop the control planes of this place; fail when anything outlives them; kill that."""
        try:
            if processes_of(self.home):
                self._stop()
            no_process_left(self.home)
        finally:
            end_processes(self.home)

    def _stop(self) -> None:
        """What `flash server stop --now` does, without that program."""
        for folder, _ in daemon.all_to_stop(self._state):
            daemon.stop(folder, now=True)

    @property
    def _state(self) -> StateFolder:
        return StateFolder(self.home, content_hash())
