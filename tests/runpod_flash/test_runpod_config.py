"""The key in the file that Runpod's own tools share: it comes and goes, and nothing else changes."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash import runpod_config
from runpod_flash.errors import ConfigError
from runpod_flash.settings import load

FORMS = [
    "",
    "# mine\n",
    "[default]",
    '[default]\napi_key = "old"\n',
    '[default] # the one\nother = 1\napi_key = "old" # key\n\n[second]\napi_key = "theirs"\n',
    '[ default ]\r\napi_key="old"\r\nregion = "EU"\r\n',
    'apikey = "old"\nlist = [\n  1,\n  2,\n]\n',
    '[first]\napi_key = "theirs"\n[default]\n[default.more]\napi_key = "another"\n',
]


def written(home: Path, text: str) -> Path:
    path = runpod_config.path_of(home)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("text", FORMS)
@pytest.mark.parametrize("key", ["rpa_NEW", 'odd"\\key'])
def test_only_the_key_changes(tmp_path: Path, text: str, key: str) -> None:
    path = written(tmp_path, text)
    before = tomllib.loads(text)
    runpod_config.keep(tmp_path, key)
    after = path.read_bytes().decode()
    assert tomllib.loads(after) == {**before, "default": {**before.get("default", {}), "api_key": key}}
    kept = [
        line for line in text.splitlines() if not line.startswith("api_key") or "theirs" in line or "another" in line
    ]
    assert [line for line in after.splitlines() if line in kept] == kept
    assert runpod_config.key(tmp_path) == key
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_is_made_for_this_user_alone(tmp_path: Path) -> None:
    assert runpod_config.key(tmp_path) is None
    runpod_config.keep(tmp_path, "k")
    path = runpod_config.path_of(tmp_path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize(
    "text", ['default.api_key = "old"\n', 'default = {api_key = "old"}\n', 'text = """\n[default]\n"""\n']
)
def test_an_unusual_form_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match="of an unusual form"):
        runpod_config.keep(tmp_path, "new")
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["api_key", "default = 5\n"])
def test_what_is_no_such_file_is_named(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        runpod_config.keep(tmp_path, "new")
    assert path.read_text() == text


@given(st.text(alphabet="[]default=\"\n #.\\'", max_size=40))
def test_whatever_the_file_is_nothing_of_it_is_lost(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    home = tmp_path_factory.mktemp("home")
    path = written(home, text)
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        before = None
    try:
        runpod_config.keep(home, "k")
    except ConfigError:
        assert path.read_bytes().decode() == text
    else:
        assert before is not None
        after = tomllib.loads(path.read_text())
        assert after.pop("default")["api_key"] == "k"
        before.pop("default", None)
        assert after == before


def test_where_the_settings_have_the_key_from(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert load(home, tmp_path).runpod_key() is None
    written(tmp_path, 'apikey = "of runpodctl"\n')
    assert load(home, tmp_path).runpod_key() == ("of runpodctl", str(runpod_config.path_of(tmp_path)))
    runpod_config.keep(tmp_path, "kept")
    assert load(home, tmp_path).runpod_key() == ("kept", str(runpod_config.path_of(tmp_path)))
    (tmp_path / ".env").write_text("RUNPOD_API_KEY=of .env\n")
    assert load(home, tmp_path).runpod_key() == ("of .env", "RUNPOD_API_KEY")
    assert load({**home, "RUNPOD_API_KEY": "given"}, tmp_path).runpod_key() == ("given", "RUNPOD_API_KEY")
    worker = {**home, "RUNPOD_ENDPOINT_ID": "e", "FLASH_RESOURCE_NAME": "f"}
    assert load(worker, tmp_path / "elsewhere").runpod_key() == ("of .env", "RUNPOD_API_KEY")
    (tmp_path / ".env").unlink()
    assert load(worker, tmp_path).runpod_key() is None, "what a user keeps is not for code of others"
