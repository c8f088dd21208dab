"""The archive of a build: whole, and the same bytes for the same build."""

import hashlib
import json
import os
import tarfile
import time
from pathlib import Path

import pytest

from flash_cli.builds import archive
from flash_cli.builds.building import Built
from flash_cli.builds.manifest import BuildManifest
from runpod_flash.errors import ConfigError
from tests.support.builds import QUEUE, built, write


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("p"), {"a.py": QUEUE.format(name="f"), "b.py": QUEUE.format(name="g")})


@pytest.fixture(scope="module")
def whole(root: Path) -> Built:
    return built(root)


def test_it_holds_the_manifest_and_every_artifact(root: Path, whole: Built) -> None:
    kept = archive.keep(whole, root)
    assert kept.file == root / ".flash" / archive.NAME
    with tarfile.open(kept.file) as packed:
        names = packed.getnames()
        text = packed.extractfile("manifest.json")
        assert text is not None
        assert BuildManifest.from_json(json.load(text)).fingerprint == whole.manifest.fingerprint
        assert {member.mtime for member in packed} == {0}
    assert names == ["manifest.json", *(f"artifacts/{name}.zip" for name in sorted(whole.artifacts))]
    assert kept.sha256 == hashlib.sha256(kept.file.read_bytes()).hexdigest()
    assert kept.size == kept.file.stat().st_size
    assert json.loads((root / ".flash" / "build" / "manifest.json").read_text())["app"] == "demo"


def test_equal_builds_give_equal_bytes(root: Path, whole: Built, tmp_path: Path) -> None:
    first = archive.keep(whole, root, tmp_path / "x.tar.gz")
    again = archive.keep(
        built(write(tmp_path / "other", {"b.py": QUEUE.format(name="g"), "a.py": QUEUE.format(name="f")})),
        tmp_path / "other",
        tmp_path / "deep" / "y.tgz",
    )
    assert first.sha256 == again.sha256


def test_a_folder_is_refused_and_a_file_in_it_offered(root: Path, whole: Built, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"artifact\.tar\.gz"):
        archive.keep(whole, root, tmp_path)


def test_artifacts_of_old_builds_go_after_a_day(root: Path, whole: Built) -> None:
    folder = root / ".flash" / "build" / "artifacts"
    old, young = folder / f"{'0' * 64}.zip", folder / f"{'1' * 64}.zip"
    for file in (old, young):
        file.touch()
    os.utime(old, (time.time() - 2 * 86_400,) * 2)
    os.utime(next(iter(whole.artifacts.values())), (0, 0))
    archive.keep(whole, root)
    assert not old.exists()
    assert young.exists()
    assert all(file.exists() for file in whole.artifacts.values())
