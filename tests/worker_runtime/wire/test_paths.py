"""The inside of an artifact."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker_runtime.wire import paths
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

NAMES = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=5)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(PATHS, st.binary(max_size=50), max_size=4).filter(
    lambda files: not any(one != other and other.startswith(f"{one}/") for one in files for other in files)
)


def manifest_for(files: dict[str, bytes], code: bytes | None) -> ArtifactManifest:
    return ArtifactManifest(
        "function", "f", "0", EnvironmentRequest("3.11"), "m:f" if code is None else None,
        {path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
    )  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(FILES, st.none() | st.binary(max_size=20))
def test_what_is_packed_is_unpacked(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], code: bytes | None
) -> None:
    manifest = manifest_for(files, code)
    artifact = paths.pack(manifest, code, files)
    assert paths.read_manifest(artifact) == manifest
    assert paths.read_code(artifact) == code
    folder = tmp_path_factory.mktemp("unpacked")
    paths.unpack_files(artifact, folder)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == files


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_no_artifact(data: bytes) -> None:
    with pytest.raises(WireError):
        paths.read_manifest(data)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", "a\\b", "a\0b"])
def test_paths_that_leave_their_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(WireError, match="leaves the folder"):
        paths.check_relative(path)
    if "\0" in path or not path:
        return
    artifact = paths.pack(manifest_for({path: b""}, None), None, {path: b""})
    for read in (paths.read_manifest, lambda data: paths.unpack_files(data, tmp_path / "inside")):
        with pytest.raises(WireError, match="leaves the folder"):
            read(artifact)
    assert list(tmp_path.iterdir()) == []


def test_contents_must_be_those_of_the_manifest() -> None:
    manifest = manifest_for({"a.py": b"1"}, None)
    with pytest.raises(WireError, match="does not have the hash"):
        paths.read_manifest(paths.pack(manifest, None, {"a.py": b"2"}))
    with pytest.raises(WireError, match="not those of its manifest"):
        paths.read_manifest(paths.pack(manifest, None, {"a.py": b"1", "b.py": b""}))
    with pytest.raises(WireError, match="not those of its manifest"):
        paths.read_manifest(paths.pack(manifest, None, {}))
    with pytest.raises(WireError, match="either an entry or"):
        paths.read_manifest(paths.pack(manifest, b"code", {"a.py": b"1"}))


def test_a_zip_without_a_manifest() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(WireError, match="holds no manifest"):
        paths.read_manifest(buffer.getvalue())


def test_the_same_artifact_has_the_same_bytes_whenever_it_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a.py": b"A = 1\n"}
    manifest = ArtifactManifest(
        "function", "f", "0", EnvironmentRequest("3.12"), "a:f", {"a.py": hashlib.sha256(files["a.py"]).hexdigest()}
    )
    before = paths.pack(manifest, None, files)
    monkeypatch.setattr("time.localtime", lambda *_: (2001, 2, 3, 4, 5, 6, 0, 0, 0))
    assert paths.pack(manifest, None, files) == before
