"""Wheels of this package made by hand, and environments that have one. What it depends on comes from this program's."""

import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

from uv import find_uv_bin

from tests.support.place import ROOT

PACKAGES = {"runpod_flash": ROOT, "worker_runtime": ROOT, "flash_cli": ROOT / "cli"}


def own_wheel(folder: Path, version: str, *, changes: Mapping[str, str] | None = None, pythons: str = ">=3.11") -> Path:
    """Write the wheel that this repository would give, of another version, with `changes` to its files."""
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for package, root in PACKAGES.items()
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    release = files["runpod_flash/release.py"].decode()
    files["runpod_flash/release.py"] = re.sub(r'VERSION = "[^"]+"', f'VERSION = "{version}"', release).encode()
    files |= {name: text.encode() for name, text in (changes or {}).items()}
    info = f"runpod_flash-{version}.dist-info"
    about = f"Metadata-Version: 2.1\nName: runpod-flash\nVersion: {version}\nRequires-Python: {pythons}\n\n"
    files[f"{info}/METADATA"] = about.encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nflash = flash_cli.main:main\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"runpod_flash-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


def environment_with(folder: Path, *source: str) -> str:
    """Make a virtual environment with what uv installs of `source`; returns its interpreter."""
    uv, python = find_uv_bin(), folder / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [uv, "pip", "install", "-q", "--no-index", "--python", str(python), *source]
    subprocess.run(command, check=True, capture_output=True)
    return str(python)
