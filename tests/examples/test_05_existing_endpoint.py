"""The example of a client, as a user runs it: with the endpoint that it adds, then by its id."""

import shutil
from pathlib import Path

import pytest

from tests.support.place import ROOT, Place

pytestmark = pytest.mark.slow


def test_a_server_that_is_there_already_is_asked(shared_place: Place) -> None:
    script = Path(shutil.copy(ROOT / "examples" / "05_existing_endpoint.py", shared_place.project))
    first = shared_place.run([str(script)]).good()
    (added,) = [each["id"] for each in shared_place.endpoints() if each["name"] == "word-counter"]
    again = shared_place.run([str(script), added]).good()
    pages, refused, workers = first.stdout.splitlines()
    assert pages.startswith("100 pages, the first: [[")
    assert refused == "refused: 422 {'detail': 'there is no text'}"
    assert int(workers.removeprefix("workers: ")) >= 1
    assert again.stdout.splitlines()[:2] == [pages, refused]
