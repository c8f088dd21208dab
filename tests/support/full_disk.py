"""A disk of one megabyte, for code that must survive a full one.

`run_on_small_disk(code, folder)` runs Python code in a process of its own that sees a new file system at `folder`.
Nobody else sees it, and it is gone when the process ends.
"""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.place import ROOT

_SETUP = """
import asyncio, contextlib, os, subprocess, sys
from pathlib import Path
disk = Path(sys.argv[1])

def fill(leave=0):
    "Use up the disk, but for `leave` bytes."
    with open(disk / "ballast", "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    if leave:
        os.truncate(disk / "ballast", max(0, (disk / "ballast").stat().st_size - leave))

def free():
    "Give the space back."
    (disk / "ballast").unlink()

def set_read_only():
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
"""


def run_on_small_disk(code: str, folder: Path, size: str = "1m") -> str:
    """Run `code`, which has `disk`, `fill()`, `free()` and `set_read_only()`; return what it printed.

    Skips the test where mounting is not allowed.
    """
    script = folder.with_name(folder.name + ".py")
    script.write_text(_SETUP + textwrap.dedent(code))
    folder.mkdir(exist_ok=True)
    shell = f'mount -t tmpfs -o size={size} tmpfs "$1" || exit 77; exec "$2" -W error "$3" "$1"'
    try:
        ran = subprocess.run(
            ["unshare", "--mount", "sh", "-c", shell, "sh", str(folder), sys.executable, str(script)],
            capture_output=True,
            text=True,
            timeout=30,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    except FileNotFoundError:
        pytest.skip("this system has no `unshare`")
    if ran.returncode == 77 or (ran.returncode != 0 and "unshare" in ran.stderr):
        pytest.skip(f"a small disk cannot be mounted here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
