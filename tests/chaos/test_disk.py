"""The disk is filled in the middle of the load and has room again later: what was accepted ends, nothing is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.place import ROOT

SIZE = "160m"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_disk_that_is_full_for_a_while_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "home").mkdir()
    shell = f'mount -t tmpfs -o size={SIZE} tmpfs "$1/home" || exit 77; exec "$2" -m tests.chaos.filled_disk "$1"'
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, "sh", str(tmp_path), sys.executable],
        capture_output=True, text=True, timeout=500, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/cli"},
    )  # fmt: skip
    if ran.returncode == 77 or "unshare:" in ran.stderr:
        pytest.skip(f"a small disk cannot be mounted here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["refusals"] > 0
    with capsys.disabled():
        print(f"\na full disk, {said['refusals']} submits refused while it lasted: {said['verdict']}")
