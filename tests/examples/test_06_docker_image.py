"""The example of an image, over a stand-in for the container engine, and without any engine."""

import sys
from pathlib import Path

import pytest

from tests.support.engines import stand_in
from tests.support.place import ROOT, Place

pytestmark = pytest.mark.slow

EXAMPLE = str(ROOT / "examples" / "06_docker_image.py")


def test_the_server_of_the_image_is_asked(tmp_path: Path) -> None:
    house = Place.below(tmp_path / "house")
    with stand_in(tmp_path / "engine") as engine:
        engine.add("python:3.13-slim", "/bin/sh", "-c", f'shift; exec {sys.executable} "$@"', "sh")  # its own python
        try:
            first, second, url = house.run([EXAMPLE], env=engine.engine.env).good().stdout.splitlines()
        finally:
            house.close()
    assert int(first.split()[0]) > 3
    assert second.endswith("entries")
    assert "/lb/" in url


def test_it_says_that_an_engine_is_missing(place: Place) -> None:
    done = place.run([EXAMPLE], env={"FLASH_CONTAINER_ENGINE": "/nowhere/docker"})
    assert done.status == 1
    assert "/nowhere/docker" in done.stderr
