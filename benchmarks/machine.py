"""Which machine, versions and commit figures belong to. No name and no path of the machine."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

PACKAGES = (
    "runpod-flash", "ray", "runpod", "modal", "numpy", "torch", "httpx", "starlette", "uvicorn", "uvloop",
    "cloudpickle", "uv",
)  # fmt: skip


def facts() -> dict[str, Any]:
    """All of it."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "machine": machine(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def machine() -> dict[str, Any]:
    """What must be equal for figures to be comparable."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit, with a + where files differ from it."""
    head = _git("rev-parse", "--short=10", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results", ":!docs")
    return (head + ("+" if changed else "")) if head else "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
