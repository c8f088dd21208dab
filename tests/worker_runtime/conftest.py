"""Fixtures for tests with real workers."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path that every user may enter: it holds a unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="fw-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
