"""The second example, as a user runs it."""

import shutil
from pathlib import Path

import pytest

from tests.support.place import ROOT, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_it_calls_every_route_and_is_refused_where_it_should_be(place: Place) -> None:
    script = Path(shutil.copy(ROOT / "examples" / "02_http_api.py", place.project))
    said = place.run([str(script)], timeout_s=200).good().stdout.splitlines()
    assert said[:8] == [
        "here:      {'the': 3, 'rose': 1}",
        "words:     {'the': 3, 'rose': 1}",
        "repeat:    ['ho', 'ho', 'ho']",
        "size:      {'name': 'ab.txt', 'bytes': 4, 'lines': 2}",
        "spell:     ['r', 'o', 's', 'e']",
        "health:    {'status': 'ok'}",
        "refused:   422 String should have at least 1 character",
        "at a time: 20 answers",
    ]
    assert said[9].endswith("/health")
