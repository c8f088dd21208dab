"""Packages made by hand, callers with them installed, and a uv that reaches no network: for tests of installing."""

import io
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import uv

UV = uv.find_uv_bin()


def base_env(folder: Path) -> dict[str, str]:
    """The environment for installers: a home and a cache of its own, no retries."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "UV_CACHE_DIR": str(folder / "uv-cache"),
        "UV_HTTP_RETRIES": "0",
    }


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    requires: Sequence[str] = (),
    script: str = "",
    *,
    module: str = "",
    text: str = "",
) -> Path:
    """Write the wheel of a package with one module, whose VERSION is `version`; `script`: name of a command.

    `module`: the module's name where it is not the package's; `text`: what it holds instead.
    """
    distribution = re.sub(r"[-_.]+", "_", name).lower()
    module = module or distribution
    info = f"{distribution}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {text}\n" for text in requires)
    files = {
        f"{module}.py": text or f"VERSION = {version!r}\ndef main():\n    print(VERSION)\n",
        f"{info}/METADATA": metadata + "\nA description.\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {module}:main\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{distribution}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


def make_broken_source(folder: Path, name: str, version: str, backend: str = "") -> Path:
    """Write the source archive of a package that cannot be built. `backend`: what its build would run."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "nowhere"\nbackend-path = ["."]\n',
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    if backend:
        files["nowhere.py"] = backend
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return archive


def make_slow_source(folder: Path, name: str, version: str, reached: Path, go: Path) -> Path:
    """Write the source archive of an empty package whose build touches `reached`, then waits until `go` is there."""
    module, info = re.sub(r"[-_.]+", "_", name), f"{name}-{version}.dist-info"
    backend = f"""
import pathlib, time, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    pathlib.Path({str(reached)!r}).touch()
    while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)
    files = {{"{module}.py": "", "{info}/METADATA": "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n",
        "{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"}}
    files["{info}/RECORD"] = "".join(f"{{path}},,\\n" for path in [*files, "{info}/RECORD"])
    with zipfile.ZipFile(f"{{folder}}/{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items(): archive.writestr(path, text)
    return "{module}-{version}-py3-none-any.whl"
"""
    return make_broken_source(folder, name, version, backend)


def make_caller(folder: Path, python: str, wheels: Sequence[Path] = ()) -> str:
    """Make a virtual environment with `wheels` installed, without what they require; return its interpreter."""
    env = base_env(folder.parent) | {"UV_NO_CONFIG": "1"}
    subprocess.run([UV, "venv", "--quiet", "--python", python, str(folder)], env=env, check=True)
    own = str(folder / "bin" / "python")
    if wheels:
        command = [UV, "pip", "install", "--quiet", "--no-deps", "--offline", "--python", own]
        subprocess.run([*command, *map(str, wheels)], env=env, check=True)
    return own


def snapshot(folder: Path) -> dict[str, int]:
    """Every path below `folder` with its time of change, to see that nothing was written there."""
    return {str(path): path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}
