"""`flash env`: the environments of an app; in the code they are its stages."""

from collections.abc import Iterator
from pathlib import Path

from flash_cli import console
from flash_cli.commands.apps import age, asked, show_stage
from flash_cli.deploys import staging
from runpod_flash import settings
from runpod_flash.backends.base import Json
from runpod_flash.project import find_project


def list_all(app: str | None, *, as_json: bool) -> None:
    """Show the environments of an app. Raises AppNotFound, BackendError."""
    name = _app(app)
    stages = asked(lambda backend: backend.apps.get(name))["stages"]
    if as_json:
        console.data({"app": name, "environments": stages})
    elif not stages:
        console.say(f"app {name} has no environments; `flash deploy` makes one")
    else:
        rows = [
            (each["name"], each["version"] or "-", len(each["endpoints"]), age(each["deployedAt"]), each["label"])
            for each in stages
        ]
        console.table(("ENVIRONMENT", "VERSION", "ENDPOINTS", "DEPLOYED", ""), rows)


def create(name: str, app: str | None, *, as_json: bool) -> None:
    """Make an environment, and its app where there is none. Raises NameTaken, ConfigError, BackendError."""
    of = _app(app)
    made = asked(lambda backend: backend.apps.create_stage(of, name))
    if as_json:
        console.data(made)
    else:
        console.say(f"environment {of}/{name} is made; `flash deploy --env {name}` brings a project to it")


def get(name: str, app: str | None, *, as_json: bool) -> None:
    """Show an environment: versions, endpoints with ids and URLs, volumes. Raises AppNotFound, StageNotFound."""
    of = _app(app)
    stage = asked(lambda backend: backend.apps.stage(of, name))
    if as_json:
        console.data(stage)
        return
    show_stage(stage)
    for line in volumes(stage):
        console.say(line)
    for version in stage["versions"]:
        said = f"version {version['number']}, {version['state']}, made {age(version['createdAt'])}"
        console.say(f"  {said}, build {version['fingerprint'][:12]}")


def delete(name: str, app: str | None, *, yes: bool) -> None:
    """Remove an environment with its endpoints and their jobs.

    Raises:
        AppNotFound, StageNotFound, StageBusy, BackendError: as named.
        ConfigError: nobody is there to agree.
    """
    of = _app(app)
    stage = asked(lambda backend: backend.apps.stage(of, name))
    names = ", ".join(each["name"] for each in stage["endpoints"]) or "no endpoints"
    if not console.agreed(f"Delete environment {of}/{name} ({names}) with all jobs?", yes=yes):
        console.note("nothing was deleted")
        return
    asked(lambda backend: backend.apps.delete_stage(of, name))
    console.say(f"environment {of}/{name} is deleted")


def volumes(stage: Json) -> Iterator[str]:
    """A line for each network volume that the endpoints of an environment see."""
    users: dict[str, list[str]] = {}
    for endpoint in (stage.get("manifest") or {}).get("endpoints", ()):
        ids = endpoint["body"].get("networkVolumes") or []
        for volume, known in zip(endpoint.get("volumes") or (), ids, strict=False):
            title = f"network volume {volume['name']} ({known})" if volume.get("name") else f"network volume {known}"
            users.setdefault(title, []).append(endpoint["name"])
    for title, names in users.items():
        yield f"  {title}: {', '.join(names)}"


def _app(said: str | None) -> str:
    chosen = settings.load()
    project = chosen.project or find_project(None, Path.cwd(), ())
    return staging.app_of(project, chosen, said)
