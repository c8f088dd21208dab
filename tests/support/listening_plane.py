"""A control plane that listens for others, started as its owner would, and clients with keys of several users."""

import json
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.place import Place
from tests.support.plane_api import plane_folder, plane_record

BODY: dict[str, Any] = {
    "name": "palette",
    "type": "QUEUE",
    "image": "runpod/flash",
    "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
    "workers": {"min": 0, "max": 1, "idleTimeout": 60},
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0},
}
"""A queue-based endpoint whose workers run what the SDK ships."""


@dataclass(frozen=True, slots=True)
class ListeningPlane:
    """The running server and its address for others."""

    place: Place
    url: str

    @classmethod
    def start(cls, place: Place, *arguments: str, listen: str = "127.0.0.1:0") -> "ListeningPlane":
        """`flash server start --listen`."""
        place.flash("server", "start", "--listen", listen, *arguments).good()
        return cls(place, str(plane_record(place)["url"]))

    @property
    def owner_key(self) -> str:
        """The key of the one who runs it."""
        return (plane_folder(self.place) / "key").read_text().strip()

    def key(self, user: str, *arguments: str) -> str:
        """A new key of a user, from `flash server keys create`."""
        return self.place.flash("server", "keys", "create", "--user", user, *arguments).good().stdout.strip()

    def client(self, key: str, **options: Any) -> httpx.Client:
        """An HTTP client with this key; the caller closes it."""
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=20, **options)

    def sdk(self, key: str) -> dict[str, str]:
        """The environment in which a program of our SDK turns to this server."""
        return {"FLASH_TARGET": self.url, "FLASH_API_KEY": key}

    def listed(self) -> list[dict[str, Any]]:
        """What `flash server keys list` shows."""
        listed = json.loads(self.place.flash("server", "keys", "list", "--json").good().stdout)
        return list(listed["keys"])
