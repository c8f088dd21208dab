"""Requirements become a lock: exact, with hashes; kept while nothing changes, changed where something does."""

import asyncio
import functools
import http.server
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from flash_cli.builds.locking import LINUX, LockOptions, lines, lock, platform_here
from runpod_flash.control_plane.environments import Environments
from runpod_flash.errors import ConfigError, InstallError
from runpod_flash.package_index import read
from tests.support.packages import UV, base_env, make_slow_source, make_wheel
from tests.support.processes import children_with
from tests.support.waiting import wait_until
from worker_runtime.wire.locks import LockLine
from worker_runtime.wire.specs import EnvironmentRequest, PackageIndex

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PROJECT = """
[build-system]
requires = []
build-backend = "own"
backend-path = ["."]
"""
BACKEND = """
import pathlib
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, "repo-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: repo\\nVersion: 1.0\\nRequires-Dist: leaf\\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    return info.name
"""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    make_wheel(folder, "leaf", "1.0")
    make_wheel(folder, "leaf", "2.0")
    make_wheel(folder, "top", "1.0", ["leaf>=1", "only-there; sys_platform == 'win32'", "old; python_version < '3.12'"])
    make_wheel(folder, "old", "1.0")
    return folder


@pytest.fixture
def options(tmp_path: Path, wheels: Path) -> LockOptions:
    index = PackageIndex(find_links=(str(wheels),), no_index=True)
    return LockOptions(tmp_path / "locks", index, base_env(tmp_path))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "own.py").write_text(BACKEND)
    git(folder, "init", "-q", "-b", "main")
    commit(folder)
    return folder


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "a change")
    return git(folder, "rev-parse", "HEAD")


def locked(requirements: list[str], options: LockOptions, python: str = "3.12") -> str:
    return asyncio.run(lock(requirements, python, options))


def packages(text: str) -> list[str]:
    return [LockLine.of(line).requirement for line in lines(text)]


def test_every_package_is_exact_and_has_a_hash_for_the_python_and_platform_of_the_workers(options: LockOptions) -> None:
    text = locked(["top"], options)
    assert packages(text) == ["leaf==2.0", "top==1.0"]  # what another platform or Python needs is not in it
    assert all("--hash=sha256:" in line for line in lines(text))
    assert packages(locked(["top"], options, "3.11")) == ["leaf==2.0", "old==1.0", "top==1.0"]
    assert f"Python 3.12 on {LINUX}" in text


def test_no_requirements_have_no_lock(options: LockOptions) -> None:
    assert locked([], options) == ""


def test_the_same_input_has_the_same_lock_without_asking_again(options: LockOptions, wheels: Path) -> None:
    text = locked(["top", "leaf<2"], options)
    make_wheel(wheels, "top", "1.5")
    assert locked(["leaf<2", "top "], options) == text  # out of the folder
    elsewhere = replace(options, folder=options.folder / "other", known=text, index=PackageIndex(no_index=True))
    assert locked(["leaf<2", "top"], elsewhere) == text  # the earlier lock is for the same
    assert not elsewhere.folder.exists()
    assert packages(locked(["leaf<2", "top"], replace(options, known=text, upgrade=True))) == ["leaf==1.0", "top==1.5"]


def test_what_can_keeps_its_version(options: LockOptions, wheels: Path) -> None:
    text = locked(["leaf"], options)
    make_wheel(wheels, "leaf", "3.0")
    make_wheel(wheels, "top", "1.5", ["leaf"])
    assert packages(locked(["leaf", "top"], replace(options, known=text))) == ["leaf==2.0", "top==1.5"]
    assert packages(locked(["leaf", "top"], options)) == ["leaf==3.0", "top==1.5"]


def test_what_does_not_resolve_is_said_with_the_resolver_s_words(options: LockOptions) -> None:
    with pytest.raises(InstallError, match=r"no versions satisfy leaf==7, top; change") as failed:
        locked(["leaf==7", "top"], options)
    assert "there is no version of leaf==7" in str(failed.value)
    assert str(options.folder) not in str(failed.value)
    with pytest.raises(InstallError, match="nowhere"):
        locked(["nowhere"], options)


@pytest.mark.parametrize("text", ["leaf=", "-r other.txt", "leaf\nother", "./folder"])
def test_what_is_no_requirement_is_refused(options: LockOptions, text: str) -> None:
    with pytest.raises(ConfigError, match="no valid requirement"):
        locked([text], options)


def test_files_of_this_machine_are_for_workers_on_this_machine(options: LockOptions, wheels: Path) -> None:
    text = f"leaf @ {(wheels / 'leaf-1.0-py3-none-any.whl').as_uri()}"
    with pytest.raises(ConfigError, match="which the workers do not have"):
        locked([text], options)
    here = replace(options, same_machine=True, platform=platform_here())
    assert packages(locked([text], here)) == [text]


def test_a_repository_stays_at_its_commit(options: LockOptions, repository: Path) -> None:
    here = replace(options, same_machine=True)
    first, text = git(repository, "rev-parse", "HEAD"), f"repo @ git+{repository.as_uri()}@main"
    made = locked([text], here)
    assert packages(made) == ["leaf==2.0", f"repo @ git+{repository.as_uri()}@{first}"]
    second = commit(repository)
    kept = replace(here, known=made)
    assert first in locked([text, "top"], kept)
    assert second in locked([text, "top"], replace(kept, upgrade=True))
    git(repository, "branch", "other")
    assert second in locked([f"repo @ git+{repository.as_uri()}@other"], kept)  # another branch was asked for


def test_a_url_keeps_its_credentials_and_gets_a_hash(options: LockOptions, wheels: Path) -> None:
    with served(wheels) as port:
        url = f"http://user:secret@127.0.0.1:{port}/leaf-1.0-py3-none-any.whl"
        assert packages(locked([f"leaf @ {url}"], options)) == [f"leaf @ {url}"]
        (line,) = lines(locked([f"leaf @ {url}"], options))
    assert "--hash=sha256:" in line


def test_a_lock_that_somebody_spoiled_is_refused(options: LockOptions) -> None:
    text = locked(["leaf"], options)
    for spoiled in (text + "other>=1\n", text + "--index-url http://example.org\n"):
        with pytest.raises(ConfigError, match="take it out of the lock"):
            locked(["leaf"], replace(options, known=spoiled))
        with pytest.raises(ConfigError, match="take it out of the lock"):
            lines(spoiled)


def test_a_folder_that_cannot_be_written_is_said(options: LockOptions, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="locks cannot be kept in"):
        locked(["leaf"], replace(options, folder=tmp_path / "file" / "locks"))


def test_uv_ends_with_the_cancelled_build(options: LockOptions, wheels: Path, tmp_path: Path) -> None:
    reached, go = tmp_path / "reached", tmp_path / "go"
    make_slow_source(wheels, "slow", "1.0", reached, go)

    async def cancel() -> None:
        locking = asyncio.create_task(lock(["slow"], PYTHON, options))
        while not reached.exists():
            await asyncio.sleep(0.01)
        locking.cancel()
        await asyncio.wait([locking])

    asyncio.run(cancel())
    wait_until(lambda: not children_with("compile"))


@pytest.mark.slow
def test_a_real_index_gives_what_can_be_installed(tmp_path: Path) -> None:
    environ = dict(os.environ)
    real = LockOptions(tmp_path / "locks", read(environ, Path(sys.prefix)), environ)
    text = locked(["six", "colorama; sys_platform == 'win32'"], real, PYTHON)
    assert [line.partition("==")[0] for line in packages(text)] == ["six"]
    request = EnvironmentRequest(PYTHON, index=real.index, lock=lines(text))
    environments = Environments(tmp_path / "environments", uv=UV, allow_apt=False, base_env=environ)
    python = asyncio.run(environments.get(request)).python
    subprocess.run([python, "-c", "import six"], check=True)


def served(folder: Path) -> "Server":
    return Server(folder)


class Server:
    """Serves the files of a folder on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        handler = functools.partial(Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> int:
        self._thread.start()
        return self._server.server_port

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
