"""What a source offers is fetched, and what is another program's is not even built."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from packaging.version import Version

from flash_cli.updating import sources
from flash_cli.updating.offers import MARKS
from runpod_flash.errors import ConfigError

EVIL = """
from pathlib import Path
Path({reached!r}).write_text("run")
def build_wheel(*_): raise SystemExit
"""


def test_the_newest_that_is_no_preview_is_taken_unless_there_are_only_previews() -> None:
    offered = {Version(text): text for text in ("1.0", "2.0", "2.1rc1")}
    assert sources.best(offered, None, "here") == Version("2.0")
    assert sources.best({Version("3.0a1"): ""}, None, "here") == Version("3.0a1")
    assert sources.best(offered, Version("2.1rc1"), "here") == Version("2.1rc1")
    with pytest.raises(ConfigError, match=r"here has no runpod-flash 4; it has 2\.1rc1, 2\.0, 1\.0"):
        sources.best(offered, Version("4"), "here")
    with pytest.raises(ConfigError, match="here has no wheel of runpod-flash"):
        sources.best({}, None, "here")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("runpod_flash-2.0.0-py3-none-any.whl", Version("2.0.0")),
        ("runpod_flash-2.0.0-cp311-cp311-win_amd64.whl", None),
        ("runpod-2.0.0-py3-none-any.whl", None),
        ("runpod_flash-2.0.0.tar.gz", None),
        ("runpod_flash.whl", None),
    ],
)
def test_wheels_of_our_name(name: str, version: Version | None) -> None:
    assert sources.version_of(name) == version


def git(folder: Path, *arguments: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder: Path, *, name: str = "runpod-flash", marks: tuple[str, ...] = MARKS, reached: Path) -> Path:
    """A repository whose build would leave a trace."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = {json.dumps(name)}\nversion = "9.0"\n'
        '[build-system]\nrequires = []\nbuild-backend = "evil"\nbackend-path = ["."]\n'
    )
    (folder / "evil.py").write_text(EVIL.format(reached=str(reached)))
    for mark in marks:
        (folder / mark).parent.mkdir(parents=True, exist_ok=True)
        (folder / mark).write_text("")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "all")
    return folder


@pytest.mark.parametrize(
    ("name", "marks", "said"),
    [
        ("runpod-flash", MARKS[:1], "which lacks worker_runtime/wire/__init__.py: another program"),
        ("other", MARKS, "is of other: another program"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "git+file://{}"])
def test_the_source_of_another_program_is_not_built(
    tmp_path: Path, name: str, marks: tuple[str, ...], said: str, form: str
) -> None:
    reached = tmp_path / "reached"
    place = form.format(repository(tmp_path / "clone", name=name, marks=marks, reached=reached))
    (tmp_path / "work").mkdir()
    with pytest.raises(ConfigError, match=said):
        sources.fetched(place, None, tmp_path / "work", os.environ)
    assert not reached.exists()


def test_a_repository_is_taken_at_a_revision(tmp_path: Path) -> None:
    place = repository(tmp_path / "clone", name="other", reached=tmp_path / "reached")
    git(place, "branch", "feature/x")
    (place / "pyproject.toml").write_text('[project]\nname = "later"\n')
    git(place, "commit", "--quiet", "-a", "-m", "later")
    for revision, name in (("", "later"), ("@feature/x", "other"), ("@main", "later")):
        work = tmp_path / f"work-{name}-{len(revision)}"
        work.mkdir()
        with pytest.raises(ConfigError, match=f"is of {name}: another program"):
            sources.fetched(f"git+file://{place}{revision}", None, work, os.environ)
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match=r"cannot be fetched; git says:\n"):
        sources.fetched(f"git+file://{place}@nowhere", None, tmp_path / "none", os.environ)
