"""Which app and which stage a command is about."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from flash_cli.deploys.staging import app_of, stage_of
from runpod_flash.backends.base import Backend
from runpod_flash.errors import AppNotFound, ConfigError
from runpod_flash.settings import Settings


class Target:
    """A target with at most one app."""

    def __init__(self, *stages: dict[str, Any], there: bool = True) -> None:
        self.apps, self._stages, self._there = self, stages, there

    async def get(self, app: str) -> dict[str, Any]:
        if not self._there:
            raise AppNotFound(app)
        return {"name": app, "stages": list(self._stages)}


def stage(target: Target, said: str | None = None, **environ: str) -> str:
    return asyncio.run(stage_of(cast(Backend, target), "shop", Settings(environ=environ), said))


def test_the_app_is_the_first_that_is_said(tmp_path: Path) -> None:
    project = tmp_path / "my shop"
    project.mkdir()
    assert app_of(project, Settings()) == "my-shop"
    (project / "pyproject.toml").write_text("[tool.flash]\napp = 'my shop'\n")
    with pytest.raises(ConfigError, match=r"'my-shop'.*--app NAME"):
        app_of(project, Settings())
    (project / "pyproject.toml").write_text("[tool.flash]\napp = 'noted'\n")
    assert app_of(project, Settings()) == "noted"
    assert app_of(project, Settings(environ={"FLASH_APP": "set"})) == "set"
    assert app_of(project, Settings(environ={"FLASH_APP": "set"}), "said") == "said"
    with pytest.raises(ConfigError, match="--app= is '/'"):
        app_of(project, Settings(), "/")
    (project / "pyproject.toml").write_text("[tool.flash\n")
    with pytest.raises(ConfigError, match=r"pyproject\.toml"):
        app_of(project, Settings())


def test_the_stage_is_said_or_the_only_one_that_stays() -> None:
    staging, production = {"name": "staging", "expiresAt": None}, {"name": "production", "expiresAt": None}
    dev = {"name": "dev-1", "expiresAt": "2026-01-01T00:00:00Z"}
    assert stage(Target(there=False)) == "production"
    assert stage(Target()) == "production"
    assert stage(Target(dev)) == "production"
    assert stage(Target(staging, dev)) == "staging"
    with pytest.raises(ConfigError, match="staging, production; say which with --env"):
        stage(Target(staging, production))
    assert stage(Target(staging, production), FLASH_ENV="staging") == "staging"
    assert stage(Target(staging, production), "new", FLASH_ENV="staging") == "new"
