"""Try a built wheel where no file of the repository can help: `python -m tests.support.wheels FOLDER-OF-THE-WHEEL`."""

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from tests.support.processes import end_processes, no_process_left

SMOKE = """
import asyncio
from runpod_flash import Endpoint

@Endpoint(name="smoke", cpu="cpu3c-1-2")
def double(x):
    return 2 * x

async def main():
    assert await asyncio.gather(*(double(x) for x in range(10))) == [2 * x for x in range(10)]

if __name__ == "__main__":
    asyncio.run(main())
    assert double.remote("ab") == "abab"
"""


def build_wheel(root: Path, folder: Path) -> Path:
    """Build the wheel of the repository `root` into `folder`."""
    command = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--wheel-dir", str(folder), str(root)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def contents(wheel: Path) -> set[str]:
    """The paths of the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def try_wheel(wheel: Path, folder: Path) -> None:
    """Install a wheel into a fresh environment below `folder`; run a call and the command there; stop what runs."""
    environment, project, home = folder / "venv", folder / "project", folder / "home"
    venv.create(environment, with_pip=True)
    project.mkdir()
    (project / "smoke.py").write_text(SMOKE)
    own = ("FLASH_", "RUNPOD_", "PYTHON")
    env = {key: value for key, value in os.environ.items() if not key.startswith(own)} | {"FLASH_HOME": str(home)}

    def run(*command: str) -> None:
        subprocess.run([str(environment / "bin" / command[0]), *command[1:]], cwd=project, env=env, check=True)

    run("python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install", str(wheel))
    try:
        run("flash", "--version")
        run("python", "smoke.py")
        run("flash", "status")
        run("flash", "server", "stop")
        no_process_left(home)
    finally:
        end_processes(home)


def main() -> int:
    """Try the one wheel in the folder that is named on the command line."""
    (wheel,) = Path(sys.argv[1]).resolve().glob("*.whl")
    with tempfile.TemporaryDirectory() as folder:
        try_wheel(wheel, Path(folder))
    print(f"{wheel.name} works outside the repository")
    return 0


if __name__ == "__main__":
    sys.exit(main())
