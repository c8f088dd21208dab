"""The control plane under test: somebody's, by its URL, or one of ours, started for the tests."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.conformance.settings import Chosen
from tests.support.place import Place

PLANE_ENV = {"FLASH_WEBHOOK_PRIVATE": "1", "FLASH_WEBHOOK_GAP_S": "0.3", "FLASH_RATED": "everybody"}
"""How ours is started: webhooks may come to this machine, quickly; limits hold for the key of its owner, too."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the API is.

    Attributes:
        url: its base URL, without `/v2` and without a slash at the end.
        key: an API key that may do everything.
        endpoints: ids of endpoints that run our handlers already, by the handler's name.
        place: the state folder, where the control plane is ours.
    """

    url: str
    key: str = field(repr=False)
    endpoints: Mapping[str, str]
    place: Place | None = None

    @property
    def jobs_url(self) -> str:
        """What Runpod's own clients take as the base URL."""
        return f"{self.url}/v2"

    @property
    def same_machine(self) -> bool:
        """Whether workers run on this machine, as far as one can tell."""
        return httpx.URL(self.url).host in ("127.0.0.1", "::1", "localhost")


@contextmanager
def chosen_target(chosen: Chosen, folder: Path) -> Iterator[Target]:
    """The chosen target, or a control plane of ours with its state in `folder`, stopped at the end."""
    if chosen.url is not None:
        yield Target(chosen.url, chosen.key or "", json.loads(chosen.endpoints or "{}"))
        return
    place = Place.below(folder)
    try:
        yield _started(place)
    finally:
        place.close()


def _started(place: Place) -> Target:
    place.flash("server", "start", env=PLANE_ENV).good()
    (plane,) = json.loads(place.flash("server", "status", "--json").good().stdout)["planes"]
    key = Path(plane["key"]).read_text().strip()
    return Target(f"http://127.0.0.1:{plane['port']}", key, {}, place)
