"""Artifacts at hand."""

import pytest

from runpod_flash.control_plane import artifacts as artifacts_module
from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.errors import ContentNotFound
from worker_runtime.wire import paths
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest


class Folder(dict[str, bytes]):
    """A source in memory that counts reads."""

    reads = 0

    def read_artifact(self, artifact_id: str) -> bytes:
        self.reads += 1
        if artifact_id not in self:
            raise FileNotFoundError(artifact_id)
        return self[artifact_id]


def artifact(name: str) -> tuple[str, bytes]:
    manifest = ArtifactManifest("function", name, "c", EnvironmentRequest("3.11"))
    return manifest.id, paths.pack(manifest, b"code", {})


def test_an_artifact_is_read_once() -> None:
    identity, data = artifact("f")
    source = Folder({identity: data})
    artifacts = Artifacts(source)
    assert artifacts.manifest(identity).name == "f"
    assert artifacts.data(identity) == data
    assert source.reads == 1


def test_the_oldest_leaves_memory_but_can_be_read_again() -> None:
    made = [artifact(f"f{number}") for number in range(80)]
    source = Folder(dict(made))
    artifacts = Artifacts(source)
    for identity, _ in made:
        artifacts.data(identity)
    assert artifacts.data(made[0][0]) == made[0][1]
    assert source.reads == 81


def test_large_ones_leave_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [artifact(f"f{number}") for number in range(4)]
    monkeypatch.setattr(artifacts_module, "_KEPT_BYTES", 2 * len(made[0][1]))
    source = Folder(dict(made))
    artifacts = Artifacts(source)
    for identity, _ in (*made, *made[-2:]):
        artifacts.data(identity)
    assert source.reads == 4
    artifacts.data(made[0][0])
    assert source.reads == 5


def test_an_unknown_artifact_is_asked_for_again() -> None:
    with pytest.raises(ContentNotFound, match="upload it"):
        Artifacts(Folder()).data("0" * 64)
