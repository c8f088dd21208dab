"""The first example, as a user runs it: cold, then warm, from a folder of its own."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.place import ROOT, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_it_saves_the_pictures_and_prints_the_same_palettes_again(place: Place) -> None:
    script = Path(shutil.copy(ROOT / "examples" / "01_colour_palettes.py", place.project))

    cold = place.run([str(script)], timeout_s=400).good()
    warm = place.run([str(script)], timeout_s=100).good()

    pictures = sorted((place.project / "output").glob("*.png"))
    assert len(pictures) == 8
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert len(re.findall(r"#[0-9a-f]{6} \d+%", cold.stdout)) == 2 * (2 + 4 + 8 + 16)
    assert _without_time(warm.stdout) == _without_time(cold.stdout)


def _without_time(text: str) -> str:
    return re.sub(r"in [\d.]+ s", "", text)
