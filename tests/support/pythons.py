"""Print the path of an installed interpreter: `python -m tests.support.pythons 3.12`. Exit status 1: there is none."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

QUESTION = "import sys, venv; print('%d.%d' % sys.version_info[:2])"


def candidates(version: str) -> Iterator[str]:
    """Where interpreters are usually found: the path, pyenv's folder, uv's folder."""
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    for folder in (*sorted(pyenv.glob(f"{version}.*"), reverse=True), *sorted(managed.glob(f"cpython-{version}.*"))):
        yield str(folder / "bin" / f"python{version}")


@functools.cache
def find_python(version: str) -> str | None:
    """The first candidate that starts and is of this version; a shim that leads nowhere is none."""
    for path in candidates(version):
        if not Path(path).exists():
            continue
        asked = subprocess.run([path, "-c", QUESTION], capture_output=True)
        if asked.stdout.decode().strip() == version:
            return path
    return None


def main() -> int:
    """Print the path, or say that there is none."""
    path = find_python(sys.argv[1])
    if path is None:
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
