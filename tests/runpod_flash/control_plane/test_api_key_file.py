"""The file of API keys: what is in it, what is refused, and who changes it when."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_flash.control_plane import api_key_file
from runpod_flash.control_plane.api_key_file import ApiKey, KeyFile, KeyFileUnusable
from runpod_flash.control_plane.principals import Scope
from runpod_flash.control_plane.store import StoreError
from tests.support.place import ROOT

KEY = ApiKey("0123456789abcdef", "alice", "laptop", Scope.ENDPOINT, ("e1", "e2"), "a" * 64, 1.5)
TIMES = st.floats(0, 1e12)
KEYS = st.lists(
    st.builds(
        ApiKey,
        id=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
        user=st.from_regex(api_key_file.USER_NAME, fullmatch=True).filter(str.isascii),
        name=st.text(st.characters(codec="utf-8")),
        scope=st.sampled_from(Scope),
        endpoints=st.lists(st.text(st.characters(codec="utf-8"))).map(tuple),
        digest=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        created_at=TIMES,
        revoked_at=st.none() | TIMES,
    ),
    unique_by=lambda key: key.id,
).map(tuple)


def written(path: Path, keys: tuple[ApiKey, ...] = (KEY,)) -> dict[str, Any]:
    """A file with these keys; its content."""
    asyncio.run(KeyFile(path).change(lambda _: keys))
    return dict(json.loads(path.read_bytes()))


@given(KEYS)
@settings(max_examples=30)
def test_it_gives_what_it_was_given(tmp_path_factory: pytest.TempPathFactory, keys: tuple[ApiKey, ...]) -> None:
    path = tmp_path_factory.mktemp("keys") / "api_keys.json"
    assert KeyFile(path).read() == ()
    assert KeyFile(path).mark() is None
    asyncio.run(KeyFile(path).change(lambda _: keys))
    assert KeyFile(path).read() == keys


def test_it_is_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "api_keys.json"
    written(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["api_keys.json", "api_keys.lock"]
    assert [file.stat().st_mode & 0o777 for file in tmp_path.iterdir()] == [0o600, 0o600]
    path.chmod(0o640)
    with pytest.raises(KeyFileUnusable, match=rf"{path} is open to other users"):
        KeyFile(path).read()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "version"),
        ({"keys": None}, "keys"),
        ({"more": 1}, "more"),
        ({"id": "../../etc"}, "keys.0.id"),
        ({"id": "0123456789abcdef\n"}, "keys.0.id"),
        ({"user": "Alice"}, "keys.0.user"),
        ({"user": ""}, "keys.0.user"),
        ({"scope": "admin"}, "keys.0.scope"),
        ({"endpoints": "e1"}, "keys.0.endpoints"),
        ({"digest": "b" * 63}, "keys.0.digest"),
        ({"created_at": "now"}, "keys.0.created_at"),
        ({"revoked_at": False}, "keys.0.revoked_at"),
        ({"expires_at": 5}, "keys.0.expires_at"),
    ],
)
def test_what_is_no_file_of_keys(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = tmp_path / "api_keys.json"
    content = written(path)
    for name, value in changes.items():
        (content if name in ("version", "keys", "more") else content["keys"][0])[name] = value
    text = json.dumps(content)
    path.write_text(text)
    refused_and_left_alone(path, text.encode(), f"{path} is damaged, or of another version of runpod-flash ({said}: ")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b'{"version": 1}', b"null"])
def test_what_is_damaged(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "api_keys.json"
    path.touch(0o600)
    path.write_bytes(text)
    refused_and_left_alone(path, text, f"{path} is damaged")


def test_an_id_that_comes_twice(tmp_path: Path) -> None:
    path = tmp_path / "api_keys.json"
    content = written(path)
    text = json.dumps({**content, "keys": content["keys"] * 2})
    path.write_text(text)
    refused_and_left_alone(path, text.encode(), "an id comes twice")


def refused_and_left_alone(path: Path, text: bytes, said: str) -> None:
    with pytest.raises(KeyFileUnusable) as read:
        KeyFile(path).read()
    assert said in str(read.value)
    with pytest.raises(KeyFileUnusable):
        asyncio.run(KeyFile(path).change(lambda keys: (*keys, KEY)))
    assert path.read_bytes() == text


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "api_keys.json"
    path.mkdir()
    with pytest.raises(StoreError, match=r"api_keys\.json cannot be read"):
        KeyFile(path).read()


ADDS = """
import asyncio, dataclasses, sys
from pathlib import Path
from runpod_flash.control_plane.api_key_file import ApiKey, KeyFile
from runpod_flash.control_plane.principals import Scope
async def main():
    file = KeyFile(Path(sys.argv[1]))
    for number in range(20):
        key = ApiKey(f"{sys.argv[2]}{number:015x}", "alice", "", Scope.FULL, (), "a" * 64, 1.0)
        await file.change(lambda keys: (*keys, key))
asyncio.run(main())
"""


def test_processes_that_change_it_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "api_keys.json"
    command = [sys.executable, "-c", ADDS, str(path)]
    adding = [subprocess.Popen([*command, str(number)], cwd=ROOT) for number in range(3)]
    assert [process.wait(60) for process in adding] == [0, 0, 0]
    assert len(KeyFile(path).read()) == 60


def test_a_lock_that_is_held_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "api_keys.json"
    monkeypatch.setattr(api_key_file, "LOCK_S", 0.1)

    async def both() -> None:
        async with api_key_file.file_lock(path.with_suffix(".lock")):
            await KeyFile(path).change(lambda keys: (*keys, KEY))

    with pytest.raises(StoreError, match="held by another process"):
        asyncio.run(both())
    assert not path.exists()
