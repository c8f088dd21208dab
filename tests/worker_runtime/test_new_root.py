"""A network volume at /runpod-volume: for root and others, shipped and as command, with all covers in place."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.worker_runtime.scripted_plane import Plane, by_name
from tests.worker_runtime.test_keeper import _namespaces, _python_for_nobody, needs_namespaces
from tests.worker_runtime.test_mounts import Scene, furnished, how, of_type, report_of, scene, who
from worker_runtime.new_root import VOLUME

__all__ = ["scene"]

KEEPS_A_NOTE = f"""
import os
from pathlib import Path

def keep(text):
    note = Path("{VOLUME}/folder/note")
    note.parent.mkdir(exist_ok=True)
    before = note.read_text() if note.exists() else ""
    note.write_text(before + text)
    return before, os.listdir("{VOLUME}"), sorted(os.listdir("/"))
"""

pytestmark = needs_namespaces


@pytest.fixture
def volume(short_folder: Path) -> Path:
    """A folder that is a volume, in one that is hidden."""
    folder = short_folder / "volumes" / "v1" / "files"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    return folder


@pytest.fixture(autouse=True)
def _host_has_none() -> Any:
    before = os.path.lexists(VOLUME)
    yield
    assert os.path.lexists(VOLUME) == before


@who
def test_workers_one_after_the_other_share_files_and_see_the_machine_s_folders(
    short_folder: Path, volume: Path, user: int | None
) -> None:
    if user is not None and not _namespaces(user):
        pytest.skip("this kernel gives namespaces to root only")
    python = None if user is None else _python_for_nobody()

    async def kept(text: str) -> Any:
        settings = {"volume": str(volume), "hidden": (str(volume.parents[1]),)}
        more = {} if python is None else {"python": python}
        async with Plane(short_folder, user=user, settings=settings, **more) as plane:
            code = by_name("noting:keep", more={"noting.py": KEEPS_A_NOTE.encode()})
            return await plane.call(code, text)

    first, second = asyncio.run(kept("one")), asyncio.run(kept("two"))
    there = sorted({*os.listdir("/"), VOLUME[1:]})
    assert tuple(first) == ("", ["folder"], there)
    assert tuple(second) == ("one", ["folder"], there)
    assert (volume / "folder" / "note").read_text() == "onetwo"


def test_a_command_sees_it_too(short_folder: Path, volume: Path) -> None:
    command = f"echo hello > {VOLUME}/said; pwd; ls -d /etc {VOLUME}"

    async def main() -> list[str]:
        async with Plane(short_folder, settings={"volume": str(volume), "command": command}) as plane:
            await plane.until(lambda: of_type(plane, "gone"), "gone", 30)
            return plane.lines()

    assert asyncio.run(main()) == [str(short_folder / "worker" / "run"), "/etc", VOLUME]
    assert (volume / "said").read_text() == "hello\n"


@who
@how
def test_with_a_volume_user_code_that_tries_hard_finds_nothing(
    scene: Scene, volume: Path, how: str, user: int | None
) -> None:
    if user is not None and not _namespaces(user):
        pytest.skip("this kernel gives namespaces to root only")
    secret = scene.folder / "volumes" / "v2" / "files" / "secret"
    secret.parent.mkdir(parents=True)
    secret.write_text("secret")
    scene.secrets.append(secret)
    hidden = (str(scene.hidden), str(scene.hidden_file), str(scene.folder / "volumes"))
    report = asyncio.run(report_of(scene, how, user, volume=str(volume), hidden=hidden))
    assert report["found"] == {}
    assert report["private"] == ["w1"]
    assert all(secret.read_text() == "secret" for secret in scene.secrets)


def test_the_old_root_is_gone_and_what_is_made_in_the_new_one_stays_there(short_folder: Path, volume: Path) -> None:
    (short_folder / "own" / "deep").mkdir(parents=True)
    code = f"""
def look():
    os.mkdir("/made-here")
    here = [line.split()[4] for line in open("/proc/self/mountinfo")]
    return here.count("/"), os.path.exists("/made-here"), os.listdir(f"{{folder}}/own"), os.listdir("{VOLUME}")
furnished(View(own=f"{{folder}}/own", volume="{volume}"), look)
"""
    (volume / "file").touch()
    assert furnished(short_folder, code) == ["(1, True, ['deep'], ['file'])"]
    assert not Path("/made-here").exists()


def test_where_the_machine_has_such_a_folder_it_is_covered_and_kept(short_folder: Path, volume: Path) -> None:
    (short_folder / "own").mkdir()
    (short_folder / "other").mkdir()
    (short_folder / "other" / "of-the-machine").touch()
    (volume / "file").touch()
    code = f"""
def twice():
    before = os.listdir("{VOLUME}")
    mounts.furnish(View(own=f"{{folder}}/own", volume="{volume}"))
    return before, os.listdir("{VOLUME}")
furnished(View(own=f"{{folder}}/own", volume=f"{{folder}}/other"), twice)
"""
    assert furnished(short_folder, code) == ["(['of-the-machine'], ['file'])"]
    assert os.listdir(short_folder / "other") == ["of-the-machine"]


@pytest.mark.parametrize(
    ("isolate", "exists", "said"),
    [
        (False, True, f"its network volume cannot be mounted at {VOLUME}, which takes namespaces: they were not"),
        (True, False, "its network volume is gone: there is no folder "),
    ],
)
def test_a_worker_that_cannot_show_it_says_why_and_ends(
    short_folder: Path, volume: Path, capsys: pytest.CaptureFixture[str], isolate: bool, exists: bool, said: str
) -> None:
    shown = volume if exists else volume / "gone"

    async def main() -> int:
        async with Plane(short_folder, isolate=isolate, settings={"volume": str(shown)}) as plane:
            return await plane.process.wait()

    assert asyncio.run(main()) == 3
    assert said in capsys.readouterr().err
