"""Which endpoint is meant by a name: one of an app's stage, one that a script of this project has made, or an id.

in the app and stage that were said, else the project's app and its only stage
▶ a live endpoint of the project ▶ an id ▶ refused, with the places where the name is, or the nearest names
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runpod_flash.backends.base import Backend
from runpod_flash.errors import ConfigError, EndpointNotFound
from runpod_flash.project import app_of, find_project
from runpod_flash.scopes import stage_of
from runpod_flash.settings import Settings
from runpod_flash.wording import nearest


@dataclass(frozen=True, slots=True)
class Found:
    """An endpoint on the platform. `project`: the scope of its name; `app`, `stage`: of those that were deployed.

    `expires`: its stage goes by itself, as that of `flash dev` does.
    """

    id: str
    name: str
    type: str = "QUEUE"
    url: str = ""
    project: str = ""
    app: str | None = None
    stage: str | None = None
    expires: bool = False

    @classmethod
    def of(cls, endpoint: Mapping[str, Any]) -> "Found":
        """Read it from an overview."""
        project = str(endpoint.get("project") or "")
        stage = stage_of(project)
        return cls(
            str(endpoint["id"]),
            str(endpoint["name"]),
            str(endpoint.get("type") or "QUEUE"),
            str(endpoint.get("url") or ""),
            project,
            None if stage is None else stage.app,
            None if stage is None else stage.stage,
            stage is not None and endpoint.get("expiresAt") is not None,
        )

    @property
    def is_load_balanced(self) -> bool:
        """Whether it answers HTTP requests, instead of taking jobs."""
        return self.type == "LOAD_BALANCER"

    def __str__(self) -> str:
        if self.app is not None:
            return f"{self.name} of app {self.app}, environment {self.stage}"
        return f"{self.name} of project {self.project}" if self.project else f"{self.name} of no project"


@dataclass(frozen=True, slots=True)
class Place:
    """Where names are looked for.

    Attributes:
        app, stage: as said by options or FLASH_APP and FLASH_ENV; None: not said.
        own_app: what the project's app is called.
        project: the folder in which names of live endpoints are unique.
    """

    app: str | None
    stage: str | None
    own_app: str
    project: str

    @classmethod
    def of(cls, settings: Settings, folder: Path, app: str | None = None, stage: str | None = None) -> "Place":
        """The place that is meant in a folder, with these options. Raises ConfigError: its pyproject.toml is wrong."""
        project = settings.project or find_project(None, folder, ())
        said_app, said_stage = settings.environ.get("FLASH_APP"), settings.environ.get("FLASH_ENV")
        return cls(app or said_app or None, stage or said_stage or None, app_of(project), str(project))


async def endpoints(backend: Backend) -> list[Found]:
    """All endpoints of whoever asks. Raises BackendError."""
    said = await backend.look.overview()
    user = said.get("user")  # None: of a release that does not say so
    return [Found.of(each) for each in said["endpoints"] if user in (None, each.get("owner", ""))]


async def endpoint(backend: Backend, name: str, place: Place) -> Found:
    """The endpoint that is meant by a name or an id. Raises as `find`, and BackendError."""
    return find(await endpoints(backend), name, place)


def find(known: Sequence[Found], name: str, place: Place) -> Found:
    """The endpoint that is meant by a name or an id.

    Raises:
        ConfigError: several are; the message lists them.
        EndpointNotFound: none is; the message has the places where there is one of this name, or the nearest names.
    """
    if place.app is not None or place.stage is not None:
        return _in_stage(known, name, place)
    found = _of_stage(known, name, place.own_app, None) or _live(known, name, place.project)
    found = found or next((each for each in known if each.id == name), None)
    if found is None:
        raise _missing(known, name, place)
    return found


def chosen(known: Iterable[Found], place: Place) -> list[Found]:
    """The endpoints of the app and stage that were said; all where nothing was."""
    if place.app is None and place.stage is None:
        return list(known)
    app = place.app or place.own_app
    return [each for each in known if each.app == app and place.stage in (None, each.stage)]


def _in_stage(known: Sequence[Found], name: str, place: Place) -> Found:
    app = place.app or place.own_app
    found = _of_stage(known, name, app, place.stage)
    if found is not None:
        return found
    inside = chosen(known, place)
    where = f"app {app}" + (f", environment {place.stage}" if place.stage is not None else "")
    if inside:
        near = nearest(name, {each.name for each in inside})
        names = ", ".join(sorted({each.name for each in inside}))
        raise EndpointNotFound(
            f"{where} has no endpoint {name!r}" + (f"; did you mean {near}?" if near else f"; it has {names}")
        )
    apps = {each.app for each in known if each.app is not None}
    stages = sorted({each.stage for each in known if each.app == app and each.stage is not None})
    near = nearest(app, apps)
    hint = f"; app {app} has {', '.join(stages)}" if stages else f"; did you mean app {near}?" if near else ""
    raise EndpointNotFound(f"{where} has no endpoints{hint}; `flash deploy` brings them there")


def _of_stage(known: Sequence[Found], name: str, app: str, stage: str | None) -> Found | None:
    """The endpoint of a stage; where none is said, of the only one, of those that stay if there are such."""
    of_app = [each for each in known if each.app == app]
    if stage is None:
        of_app = [each for each in of_app if not each.expires] or of_app
    matches = [each for each in of_app if each.name == name and stage in (None, each.stage)]
    stages = sorted({str(each.stage) for each in of_app})
    if stage is None and matches and len(stages) > 1:
        raise ConfigError(
            f"app {app} has the environments {', '.join(stages)}; say in which {name!r} is meant: --env {stages[0]}"
        )
    return matches[0] if matches else None


def _live(known: Sequence[Found], name: str, project: str) -> Found | None:
    live = [each for each in known if each.app is None and each.name == name]
    own = next((each for each in live if each.project == project), None)
    return own or next((each for each in live if not each.project), None)


def _missing(known: Sequence[Found], name: str, place: Place) -> EndpointNotFound:
    elsewhere = [each for each in known if each.name == name]
    here = f"neither this project ({place.project}) nor its app {place.own_app} has an endpoint {name!r}"
    if elsewhere:
        ways = ", and ".join(f"{each}: say {_way_to(each)}" for each in elsewhere)
        return EndpointNotFound(f"{here}; there is {ways}")
    near = nearest(name, {each.name for each in known})
    hint = f"; did you mean {near}?" if near else "" if known else "; there are no endpoints at all"
    return EndpointNotFound(f"there is no endpoint {name!r}{hint}")


def _way_to(found: Found) -> str:
    return f"--app {found.app} --env {found.stage}" if found.app is not None else f"its id, {found.id}"
