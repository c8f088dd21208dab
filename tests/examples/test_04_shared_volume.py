"""The example of network volumes, as a user runs it: twice, with what the first run left."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.place import ROOT, Place

pytestmark = pytest.mark.slow


def test_two_endpoints_share_what_stays(shared_place: Place) -> None:
    script = Path(shutil.copy(ROOT / "examples" / "04_shared_volume.py", shared_place.project))
    lines = script.read_text().lower().splitlines()
    wanted = [number for number, line in enumerate(lines, 1) if "worker" in [w.strip('.,:;"()') for w in line.split()]]

    first = shared_place.run([str(script)]).good()
    again = shared_place.run([str(script)]).good()

    assert first.stdout.splitlines()[0] == "the index made"
    assert again.stdout.splitlines()[0] == "the index was there"
    assert first.stdout.splitlines()[1:] == again.stdout.splitlines()[1:]
    assert f"worker: lines {wanted}" in first.stdout
    assert first.stdout.splitlines()[-1] == "on the volume: /index (folder), /texts (folder)"
    fetched = json.loads((shared_place.project / "output" / "example.json").read_text())
    assert fetched["worker"] == wanted
