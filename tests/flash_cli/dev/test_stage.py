"""The session's own stage: made, renewed, made anew where it is lost, removed."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from flash_cli.dev.stage import EXPIRES_S, EphemeralStage
from flash_cli.manifest import BuildManifest, BuiltEndpoint
from runpod_flash.backends.base import Backend
from runpod_flash.errors import (
    BackendUnavailable,
    ConfigError,
    ContentNotFound,
    FlashError,
    StageBusy,
    StageMoved,
    StageNotFound,
)
from tests.support.balanced import until

MANIFEST = BuildManifest("app", (BuiltEndpoint("f", "function", "a.py", "f", {"type": "QUEUE"}, artifact="a1"),))


class Apps:
    """The apps of a target that a test scripts: `refusals` are raised by the next deploys, `stages` can be lost."""

    def __init__(self) -> None:
        self.stages: dict[str, int] = {}
        self.refusals: list[FlashError] = []
        self.calls: list[tuple[Any, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def create_stage(self, app: str, stage: str, *, expires_in: int | None = None, label: str = "") -> None:
        self.calls.append(("create", app, stage, expires_in, label))
        self.stages[stage] = 0

    async def stage(self, app: str, stage: str) -> Mapping[str, Any]:
        return {"version": self._version(stage)}

    async def renew(self, app: str, stage: str) -> None:
        self.calls.append(("renew", stage))
        self._version(stage)

    async def delete_stage(self, app: str, stage: str) -> None:
        self.calls.append(("delete", stage))
        self._version(stage)
        del self.stages[stage]

    async def deploy(self, app: str, stage: str, manifest: Any, *, base: int, prune: bool, on_progress: Any) -> Any:
        self.calls.append(("deploy", base, prune))
        await self.gate.wait()
        version = self._version(stage)
        if self.refusals:
            raise self.refusals.pop(0)
        if base != version:
            raise StageMoved("somebody was first")
        self.stages[stage] = version + 1
        endpoints = [{"name": each["name"], "id": f"{each['name']}-{version + 1}"} for each in manifest["endpoints"]]
        return {"version": version + 1, "changes": [], "stage": {"endpoints": endpoints}}

    def _version(self, stage: str) -> int:
        if stage not in self.stages:
            raise StageNotFound(f"no stage {stage}")
        return self.stages[stage]


class Target:
    """A backend with nothing but apps and artifacts."""

    def __init__(self) -> None:
        self.apps = Apps()
        self.artifacts: dict[str, bytes] = {}
        self.uploads = 0

    async def upload_artifact(self, artifact_id: str, source: Path, said: Any) -> None:
        self.uploads += 1
        self.artifacts[artifact_id] = source.read_bytes()


@pytest.fixture
def target() -> Target:
    return Target()


@pytest.fixture
def stage(target: Target) -> EphemeralStage:
    return EphemeralStage(cast(Backend, target), "app", "me@here", lambda event: None)


@pytest.fixture
def artifacts(tmp_path: Path) -> Mapping[str, Path]:
    (tmp_path / "a1").write_bytes(b"code")
    return {"a1": tmp_path / "a1"}


def test_the_first_deploy_makes_the_stage_and_brings_the_code(
    target: Target, stage: EphemeralStage, artifacts: Mapping[str, Path]
) -> None:
    assert asyncio.run(stage.deploy(MANIFEST, artifacts)) == {"f": "f-1"}
    assert asyncio.run(stage.deploy(MANIFEST, artifacts)) == {"f": "f-2"}
    assert target.artifacts == {"a1": b"code"}
    assert target.uploads == 1
    assert [call[0] for call in target.apps.calls] == ["create", "deploy", "deploy"]
    assert target.apps.calls[0] == ("create", "app", stage.name, EXPIRES_S, "me@here")
    assert target.apps.calls[1] == ("deploy", 0, True)


def test_sessions_have_stages_of_their_own(target: Target) -> None:
    names = {EphemeralStage(cast(Backend, target), "app", "", print).name for _ in range(20)}
    assert len(names) > 15
    assert all(name.startswith("dev-") for name in names)


def test_a_lost_stage_is_made_anew(target: Target, stage: EphemeralStage, artifacts: Mapping[str, Path]) -> None:
    asyncio.run(stage.deploy(MANIFEST, artifacts))
    target.apps.stages.clear()
    target.artifacts.clear()
    assert asyncio.run(stage.renew()) == {"f": "f-1"}
    assert target.artifacts
    assert asyncio.run(stage.renew()) is None
    target.apps.stages.clear()
    assert asyncio.run(stage.deploy(MANIFEST, artifacts)) == {"f": "f-1"}


def test_a_deploy_whose_answer_was_lost_is_followed_by_the_next(
    target: Target, stage: EphemeralStage, artifacts: Mapping[str, Path]
) -> None:
    asyncio.run(stage.deploy(MANIFEST, artifacts))
    target.apps.stages[stage.name] = 7
    assert asyncio.run(stage.deploy(MANIFEST, artifacts)) == {"f": "f-8"}
    target.apps.refusals.append(StageBusy("since a moment"))
    assert asyncio.run(stage.deploy(MANIFEST, artifacts)) == {"f": "f-9"}


def test_code_that_the_target_has_cleared_up_is_brought_again(
    target: Target, stage: EphemeralStage, artifacts: Mapping[str, Path]
) -> None:
    asyncio.run(stage.deploy(MANIFEST, artifacts))
    target.apps.refusals.append(ContentNotFound("no artifact a1"))
    assert asyncio.run(stage.deploy(MANIFEST, artifacts)) == {"f": "f-2"}
    assert target.uploads == 2
    target.apps.refusals += [ContentNotFound("no artifact a1")] * 2
    with pytest.raises(ContentNotFound):
        asyncio.run(stage.deploy(MANIFEST, artifacts))


def test_a_session_lives_on_while_a_deploy_takes_its_time(
    target: Target, stage: EphemeralStage, artifacts: Mapping[str, Path]
) -> None:
    async def test() -> None:
        await stage.deploy(MANIFEST, artifacts)
        target.apps.gate.clear()
        deploy = asyncio.create_task(stage.deploy(MANIFEST, artifacts))
        await until(lambda: target.apps.calls[-1][0] == "deploy" and len(target.apps.calls) == 3)
        assert await asyncio.wait_for(stage.renew(), 10) is None
        assert target.apps.calls[-1] == ("renew", stage.name)
        target.apps.gate.set()
        assert await deploy == {"f": "f-2"}

    asyncio.run(test())


def test_a_refusal_and_an_absent_target_are_told(
    target: Target, stage: EphemeralStage, artifacts: Mapping[str, Path]
) -> None:
    for error in (ConfigError("bad body of 'f'"), BackendUnavailable("away")):
        target.apps.refusals.append(error)
        with pytest.raises(type(error)):
            asyncio.run(stage.deploy(MANIFEST, artifacts))


def test_the_end_removes_the_stage_once(target: Target, stage: EphemeralStage, artifacts: Mapping[str, Path]) -> None:
    asyncio.run(stage.delete())
    assert not target.apps.calls
    asyncio.run(stage.deploy(MANIFEST, artifacts))
    asyncio.run(stage.delete())
    asyncio.run(stage.delete())
    assert not target.apps.stages
    assert [call[0] for call in target.apps.calls].count("delete") == 1
