"""What new workers start from is there before an endpoint changes, or the change is refused."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.environments import InstallFailed
from runpod_flash.control_plane.fleet import Fleet
from runpod_flash.control_plane.pools import Pools
from runpod_flash.control_plane.preparing import Preparing
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.errors import ContentNotFound
from tests.support.memory_fleet import MemoryArtifacts, MemoryValues, artifact
from tests.support.small_plane import StandInEnvironments
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind

pytestmark = pytest.mark.anyio


@dataclass
class StandInEngine:
    """Fetches images, or says why it cannot."""

    fetched: list[str] = field(default_factory=list)
    failure: InstallFailed | None = None

    async def prepare(self, image: str, on_stage: Any) -> None:
        if self.failure is not None:
            raise self.failure
        on_stage("it is fetched")
        self.fetched.append(image)


@dataclass
class Scene:
    """What prepares, and what stands behind it."""

    environments: StandInEnvironments = field(default_factory=StandInEnvironments)
    engine: StandInEngine = field(default_factory=StandInEngine)
    artifacts: MemoryArtifacts = field(default_factory=MemoryArtifacts)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        pools = Pools(Fleet(), Artifacts(self.artifacts), MemoryValues())
        self.preparing = Preparing(pools, self.environments, self.engine)  # type: ignore[arg-type]

    async def prepare(self, **body: Any) -> None:
        record = EndpointRecord("", "app:shop/production", "a", {"type": "QUEUE", **body}, "", 1, 0.0, "ada")
        await self.preparing.prepare(record, self.said.append)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene()


async def test_the_environment_of_the_artifact_is_built_as_its_owner_may_have_it(scene: Scene) -> None:
    artifact_id = artifact(scene.artifacts)
    vetted = list[str]()

    def vet(endpoint: EndpointRecord, request: Any) -> Any:
        vetted.append(endpoint.owner)
        return request

    scene.preparing.vet = vet
    await scene.prepare(artifact=artifact_id)
    assert (scene.environments.builds, scene.said, vetted) == (1, ["3 packages"], ["ada"])


async def test_what_cannot_be_installed_is_said_with_the_endpoint(scene: Scene) -> None:
    artifact_id = artifact(scene.artifacts)
    scene.environments.failure = InstallFailed("no such package: nonesuch")
    with pytest.raises(Problem, match="endpoint 'a': no such package: nonesuch") as refused:
        await scene.prepare(artifact=artifact_id)
    assert (refused.value.status, refused.value.code) == (422, "InstallError")


async def test_images_are_fetched(scene: Scene) -> None:
    await scene.prepare(image="a/b:c")
    assert (scene.engine.fetched, scene.said) == (["a/b:c"], ["it is fetched"])
    scene.engine.failure = InstallFailed("the engine is silent")
    with pytest.raises(Problem, match="endpoint 'a': the engine is silent"):
        await scene.prepare(image="a/b:c")


async def test_commands_need_nothing(scene: Scene) -> None:
    await scene.prepare(command="true")
    assert (scene.environments.builds, scene.engine.fetched) == (0, [])


async def test_what_this_machine_can_never_have_is_refused(scene: Scene) -> None:
    scene.preparing.refusal = lambda endpoint: ErrorInfo(ErrorKind.INFEASIBLE, "Infeasible", "there is no H100")
    with pytest.raises(Problem, match="endpoint 'a': there is no H100") as refused:
        await scene.prepare(command="true")
    assert (refused.value.status, refused.value.code) == (422, "ConfigError")


async def test_an_artifact_that_is_not_here(scene: Scene) -> None:
    with pytest.raises(ContentNotFound):
        await scene.prepare(artifact="0" * 64)
