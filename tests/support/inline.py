"""A session whose calls run inside the test process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runpod_flash.session import Session, use
from runpod_flash.settings import Settings


@contextmanager
def inline_session(folder: Path) -> Iterator[Session]:
    """Calls inside go through a platform of their own in this process."""
    with use(Session(Settings(target="inline", home=folder), project=folder)) as session:
        yield session
