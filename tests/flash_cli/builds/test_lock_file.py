"""`flash.lock`: each endpoint's lock, changed where its requirements changed. Real resolutions of local wheels."""

import asyncio
from pathlib import Path

import pytest

from flash_cli.builds.building import Built
from flash_cli.builds.lock_file import NAME, LockFile, Wanted, locked
from flash_cli.builds.locking import LockOptions
from runpod_flash.errors import ConfigError, InstallError
from tests.support.builds import built, write
from tests.support.packages import base_env, make_wheel
from worker_runtime.wire import paths
from worker_runtime.wire.specs import PackageIndex

PROJECT = {
    "a.py": """
        from runpod_flash import Endpoint
        @Endpoint(name="one", dependencies=["top"])
        def one(): ...
        @Endpoint(name="two", dependencies=["top"])
        def two(): ...
        @Endpoint(name="bare")
        def bare(): ...
    """
}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index in a folder, which pip's settings name."""
    folder = tmp_path / "wheels"
    make_wheel(folder, "leaf", "1.0")
    make_wheel(folder, "top", "1.0", ["leaf"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def versions(root: Path, name: str) -> list[str]:
    text = LockFile.read(root).locks.get(name, "")
    return [line.split(" ")[0] for line in text.splitlines() if not line.startswith("#")]


def test_what_is_locked_is_what_is_shipped(tmp_path: Path, wheels: Path) -> None:
    found = built(write(tmp_path / "p", PROJECT), locked=True)
    by_name = {each.name: each for each in found.manifest.endpoints}
    assert by_name["bare"].lock == ""
    assert by_name["one"].lock == by_name["two"].lock == LockFile.read(tmp_path / "p").locks["one"]
    environment = paths.read_manifest(found.artifacts[str(by_name["one"].artifact)].read_bytes()).environment
    assert [line.split(" ")[0] for line in environment.lock] == ["leaf==1.0", "top==1.0"]
    assert environment.dependencies == ("top",)
    assert all("--hash=sha256:" in line for line in environment.lock)
    assert (tmp_path / "p" / NAME).read_text().count("leaf==1.0") == 1


def test_only_what_changed_is_resolved_anew(tmp_path: Path, wheels: Path) -> None:
    root = write(tmp_path / "p", PROJECT)
    built(root, locked=True)
    text = (root / NAME).read_bytes()
    make_wheel(wheels, "leaf", "2.0")
    make_wheel(wheels, "more", "1.0", ["leaf"])
    built(root, locked=True)
    assert (root / NAME).read_bytes() == text
    write(root, {"a.py": PROJECT["a.py"].replace('["top"])\n        def two', '["top", "more"])\n        def two')})
    built(root, locked=True)
    assert versions(root, "one") == ["leaf==1.0", "top==1.0"]
    assert versions(root, "two") == ["leaf==1.0", "more==1.0", "top==1.0"]
    built(root, locked=True, upgrade=True)
    assert versions(root, "one") == ["leaf==2.0", "top==1.0"]


def test_endpoints_that_left_the_code_leave_the_file_unless_a_file_is_broken(tmp_path: Path, wheels: Path) -> None:
    root = write(tmp_path / "p", {**PROJECT, "b.py": PROJECT["a.py"].replace('name="', 'name="b')})
    built(root, locked=True)
    assert versions(root, "bone")
    write(root, {"b.py": "import runpod_flash\n1/0"})
    built(root, locked=True)
    assert versions(root, "bone")
    (root / "b.py").unlink()
    built(root, locked=True)
    assert not versions(root, "bone")
    assert versions(root, "one")


def test_without_locks_none_are_made_or_used(tmp_path: Path, wheels: Path) -> None:
    def lock_of(found: Built) -> str:
        return next(each.lock for each in found.manifest.endpoints if each.name == "one")

    root = write(tmp_path / "p", PROJECT)
    assert lock_of(built(root, locked=True, no_deps=True)) == ""
    assert not (root / NAME).exists()


def test_what_cannot_be_resolved_is_told_in_the_resolvers_words(tmp_path: Path, wheels: Path) -> None:
    root = write(tmp_path / "p", {"a.py": PROJECT["a.py"].replace('["top"]', '["top", "leaf>5"]', 1)})
    with pytest.raises(InstallError, match=r"(?s)the packages of one cannot be resolved.*leaf>5"):
        built(root, locked=True)


@pytest.mark.parametrize("text", ["numpy==1.0\n", "[one]\nnot a requirement\n"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, wheels: Path, text: str) -> None:
    root = write(tmp_path / "p", {**PROJECT, NAME: text})
    with pytest.raises(ConfigError, match=r"made anew"):
        built(root, locked=True)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    file = LockFile({"b": "# x\na==1\n", "a": "# x\na==1\n", "c": "b==2\n", "d": ""})
    file.write(tmp_path)
    assert LockFile.read(tmp_path).locks == {"a": "# x\na==1\n", "b": "# x\na==1\n", "c": "b==2\n"}
    assert LockFile.read(tmp_path / "elsewhere").locks == {}


def test_nothing_to_lock_asks_nobody(tmp_path: Path) -> None:
    options = LockOptions(tmp_path / "locks", PackageIndex(index_url="http://127.0.0.1:9"), base_env(tmp_path))
    assert asyncio.run(locked(LockFile(), {"a": Wanted((), "3.12")}, options)).locks == {"a": ""}
