"""What programs may do that are started after rights were bound, in real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker_runtime.scripted_plane import ROOT
from tests.worker_runtime.test_keeper import NOBODY, _python_for_nobody, root_only
from worker_runtime.privileges import KEPT

SHOW = "exec grep -E 'Cap|NoNewPrivs' /proc/self/status"
CODE = f"""
import os
from worker_runtime import privileges
privileges.bound()
privileges.bound()
os.execv("/bin/sh", ["/bin/sh", "-c", {SHOW!r}])
"""


def rights(python: str, user: int | None = None) -> dict[str, int]:
    """What a program has that is started by a process with bound rights."""
    account = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run([python, "-c", CODE], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, **account)
    return {name: int(value, 16) for name, value in (line.split(":\t") for line in done.stdout.splitlines())}


@root_only
def test_root_keeps_the_named_rights_and_no_others_not_even_those_without_a_name_yet() -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    had = int(next(line for line in lines if line.startswith("CapBnd")).split()[1], 16)
    kept = sum(1 << number for number in KEPT.values()) & had
    found = rights(sys.executable)
    assert (found["CapBnd"], found["CapEff"], found["CapPrm"]) == (kept, kept, kept)
    assert (found["CapInh"], found["CapAmb"]) == (0, 0)


@root_only
@pytest.mark.skipif(not os.path.exists("/usr/bin/setpriv"), reason="setpriv is not installed")
def test_rights_that_would_be_inherited_are_gone_too() -> None:
    command = ["/usr/bin/setpriv", "--inh-caps", "+sys_admin", "--ambient-caps", "+sys_admin", sys.executable, "-c"]
    done = subprocess.run([*command, CODE], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found = dict(line.split(":\t") for line in done.stdout.splitlines())
    assert (int(found["CapInh"], 16), int(found["CapAmb"], 16)) == (0, 0)
    assert int(found["CapEff"], 16) & (1 << 21) == 0


@root_only
def test_others_get_no_rights_from_the_files_of_programs() -> None:
    found = rights(_python_for_nobody(), NOBODY)
    assert (found["NoNewPrivs"], found["CapEff"]) == (1, 0)
