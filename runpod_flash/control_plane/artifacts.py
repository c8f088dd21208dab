"""Artifacts at hand: manifests by id, and the bytes of those used last."""

from collections import OrderedDict
from typing import Protocol

from runpod_flash.errors import ContentNotFound
from worker_runtime.wire import paths
from worker_runtime.wire.specs import ArtifactManifest

_KEPT, _KEPT_BYTES = 64, 256 * 1024**2


class ArtifactSource(Protocol):
    """Where artifacts are stored."""

    def read_artifact(self, artifact_id: str) -> bytes:
        """The artifact's bytes. Raises FileNotFoundError."""


class Artifacts:
    """Reads artifacts once and keeps the last ones in memory."""

    def __init__(self, source: ArtifactSource) -> None:
        self._source = source
        self._kept: OrderedDict[str, tuple[ArtifactManifest, bytes, str]] = OrderedDict()

    def manifest(self, artifact_id: str) -> ArtifactManifest:
        """The artifact's manifest. Raises ContentNotFound."""
        return self._load(artifact_id)[0]

    def files_id(self, artifact_id: str) -> str:
        """What its local modules hash to. Raises ContentNotFound."""
        return self._load(artifact_id)[2]

    def data(self, artifact_id: str) -> bytes:
        """The artifact's bytes. Raises ContentNotFound."""
        return self._load(artifact_id)[1]

    def _size(self) -> int:
        return sum(len(data) for _, data, _ in self._kept.values())

    def _load(self, artifact_id: str) -> tuple[ArtifactManifest, bytes, str]:
        found = self._kept.get(artifact_id)
        if found is None:
            try:
                data = self._source.read_artifact(artifact_id)
            except FileNotFoundError:
                raise ContentNotFound(f"there is no artifact {artifact_id}; upload it and submit again") from None
            manifest = paths.read_manifest(data)
            found = (manifest, data, manifest.files_id)
            self._kept[artifact_id] = found
            while len(self._kept) > 1 and (len(self._kept) > _KEPT or self._size() > _KEPT_BYTES):
                self._kept.popitem(last=False)
        self._kept.move_to_end(artifact_id)
        return found
