"""Which app and which stage a command is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runpod_flash import project as project_module
from runpod_flash.backends.base import Backend, Json
from runpod_flash.errors import AppNotFound, ConfigError
from runpod_flash.scopes import check_name
from runpod_flash.settings import Settings

FIRST_STAGE = "production"
"""The stage of an app that has none yet."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A stage of an app. `expires_s`: how many seconds it lives after its last deploy; None: it stays."""

    app: str
    stage: str
    expires_s: int | None = None

    def __str__(self) -> str:
        return f"{self.app}/{self.stage}"


def app_of(project: Path, settings: Settings, said: str | None = None) -> str:
    """The app of a project: as said on the command line or by FLASH_APP, else what the project calls it.

    Raises:
        ConfigError: no app can be called so; its pyproject.toml cannot be read.
    """
    if said:
        return check_name("--app", said)
    if named := settings.environ.get("FLASH_APP"):
        return check_name("FLASH_APP", named)
    try:
        return check_name("app", project_module.app_of(project))
    except ConfigError as error:
        raise ConfigError(
            f"{error}; say --app NAME, or write app = 'NAME' below [tool.flash] in pyproject.toml"
        ) from error


async def stage_of(backend: Backend, app: str, settings: Settings, said: str | None = None) -> str:
    """The stage: said on the command line, FLASH_ENV, the only one that the app has, or the first one to be.

    Raises:
        ConfigError: there are several.
        BackendError: see `errors`.
    """
    named = said or settings.environ.get("FLASH_ENV")
    if named:
        return check_name("--env" if said else "FLASH_ENV", named)
    try:
        stages = lasting(await backend.apps.get(app))
    except AppNotFound:
        return FIRST_STAGE
    if len(stages) > 1:
        names = ", ".join(str(stage["name"]) for stage in stages)
        raise ConfigError(f"app '{app}' has several environments: {names}; say which with --env")
    return str(stages[0]["name"]) if stages else FIRST_STAGE


def lasting(app: Json) -> Sequence[Json]:
    """The stages of an app that do not expire."""
    return [stage for stage in app.get("stages", ()) if stage.get("expiresAt") is None]


async def has_app(backend: Backend, app: str) -> bool:
    """Whether there is such an app."""
    try:
        await backend.apps.get(app)
    except AppNotFound:
        return False
    return True
