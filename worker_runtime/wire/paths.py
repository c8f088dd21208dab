"""The inside of an artifact: a zip file of the manifest, the pickled code and the local modules.

manifest.json      `ArtifactManifest`
code.payload       the encoded function or class; absent where the manifest has an entry
files/…            local modules and packages, at the paths from which they are imported
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.specs import ArtifactManifest

MANIFEST, CODE, FILES = "manifest.json", "code.payload", "files/"


def pack(manifest: ArtifactManifest, code: bytes | None, files: Mapping[str, bytes]) -> bytes:
    """Make the artifact's bytes, the same ones whenever it is asked. `files` maps paths to their content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, MANIFEST, json.dumps(manifest.to_json(), sort_keys=True).encode())
        if code is not None:
            _add(archive, CODE, code)
        for path in sorted(files):
            _add(archive, FILES + path, files[path])
    return buffer.getvalue()


def read_manifest(artifact: bytes) -> ArtifactManifest:
    """Read and check an artifact: its manifest, its paths and that each file has the hash the manifest names.

    Raises:
        WireError: it is no artifact, a path leaves its folder, or contents and manifest differ.
    """
    with _open(artifact) as archive:
        names = set(archive.namelist())
        if MANIFEST not in names:
            raise WireError(f"the artifact holds no {MANIFEST}")
        manifest = ArtifactManifest.from_json(json.loads(archive.read(MANIFEST)))
        if (manifest.entry is None) != (CODE in names):
            raise WireError(f"an artifact holds either an entry or {CODE}")
        if {FILES + path for path in manifest.files} != names - {MANIFEST, CODE}:
            raise WireError("the artifact's files are not those of its manifest")
        for path, sha256 in manifest.files.items():
            check_relative(path)
            if hashlib.sha256(archive.read(FILES + path)).hexdigest() != sha256:
                raise WireError(f"file '{path}' of the artifact does not have the hash that the manifest names")
        return manifest


def read_code(artifact: bytes) -> bytes | None:
    """The encoded function or class, None where the artifact is imported by name."""
    with _open(artifact) as archive:
        return archive.read(CODE) if CODE in archive.namelist() else None


def unpack_files(artifact: bytes, folder: Path) -> None:
    """Write the local modules below `folder`. Raises WireError where a path would leave it."""
    with _open(artifact) as archive:
        for name in archive.namelist():
            if name.startswith(FILES):
                target = folder / check_relative(name.removeprefix(FILES))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))


def check_relative(path: str) -> PurePosixPath:
    """Refuse paths that are absolute or climb out of their folder."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise WireError(f"path {path!r} leaves the folder it belongs to")
    return pure


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    member = zipfile.ZipInfo(name)  # with the date that zip files begin at, not with today's
    archive.writestr(member, data, zipfile.ZIP_DEFLATED, compresslevel=1)


def _open(artifact: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(artifact))
    except zipfile.BadZipFile as error:
        raise WireError("these bytes are no artifact") from error
