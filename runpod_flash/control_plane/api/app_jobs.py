"""Runpod's job API by the names of an app, its stage and an endpoint, as clients of Flash ask: below `/v2/flash`."""

from typing import Final

from runpod_flash.control_plane.api.access import principal_of
from runpod_flash.control_plane.api.asked import Asked
from runpod_flash.control_plane.api.bodies import header
from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.errors import EndpointNotFound
from runpod_flash.wording import nearest

HEADERS: Final = ("X-Flash-App", "X-Flash-Environment", "X-Flash-Endpoint")
"""They say which endpoint it is about."""

FLASH: Final = "flash"
"""What stands in the path instead of an endpoint's id."""

OPERATIONS: Final = ("run", "runsync", "status", "cancel")
"""The operations of the job API that are there under these names, too."""


class AppJobs:
    """Finds the endpoints that headers name."""

    def __init__(self, apps: Apps) -> None:
        self._apps = apps

    def endpoint(self, asked: Asked) -> EndpointRecord:
        """The endpoint that the headers name.

        Raises:
            AppNotFound, StageNotFound, EndpointNotFound: there is none.
            Problem: 400, a header is missing.
        """
        app, stage, name = (_named(asked, each) for each in HEADERS)
        found = self._apps.stage(principal_of(asked).user, app, stage)
        endpoints = {endpoint.name: endpoint for endpoint in self._apps.endpoints(found)}
        if name not in endpoints:
            near = nearest(name, endpoints)
            hint = f"did you mean {near!r}?" if near else f"there is {', '.join(endpoints) or 'none'}"
            raise EndpointNotFound(f"stage {stage!r} of app {app!r} has no endpoint {name!r:.80}; {hint}")
        return endpoints[name]


def by_name(path: str) -> str:
    """The path of the job API for endpoints that headers name."""
    return path.replace("{endpoint}", FLASH, 1)


def _named(asked: Asked, name: str) -> str:
    value = header(asked, name)
    if value is None:
        raise Problem(400, f"header {name} is missing; {', '.join(HEADERS)} name the endpoint")
    return value
