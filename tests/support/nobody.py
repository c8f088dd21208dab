"""Run programs as the user `nobody`, with an interpreter that this user may start."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.place import Place

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root to become another user"
)


@contextmanager
def place_of_nobody() -> Iterator[tuple[Place, list[str]]]:
    """A place below /tmp that belongs to `nobody`, and the command that starts Python there with this project."""
    folder = Path("/tmp") / f"flash-nobody-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        place = Place(folder / "home", folder)
        python = place.venv(folder / "venv", [], base=_interpreter())
        os.chown(folder, NOBODY, NOBODY)
        yield place, [*AS_NOBODY, python]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_as_nobody(place: Place, command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments to its end."""
    folder = str(place.project)
    env = {**place.env(), "HOME": folder, "TMPDIR": folder, "XDG_RUNTIME_DIR": f"{folder}/run"}
    whole = [*command, *arguments]
    return subprocess.run(whole, env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def _interpreter() -> str:
    """A supported interpreter that `nobody` may start; one below /root is none."""
    for path in (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"):
        question = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
        asked = [*AS_NOBODY, "/bin/sh", "-c", f'"{path}" -c "{question}"']  # setpriv itself still may what root may
        if Path(path).exists() and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip("no interpreter that another user may start")
