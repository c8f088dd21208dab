"""Settings come from the environment, then from the nearest .env; every bad one is named."""

from pathlib import Path

import pytest

from runpod_flash import targets
from runpod_flash.errors import ConfigError
from runpod_flash.settings import load, served_here, serving
from runpod_flash.targets import Targets


def test_defaults(tmp_path: Path) -> None:
    settings = load({}, tmp_path)
    assert (settings.target, settings.target_chosen, settings.logs) == ("local", False, "auto")
    assert (settings.api_key, settings.runpod_api_key, settings.runtime_home) == (None, None, None)
    assert settings.home.name == "runpod-flash"
    assert settings.home.is_absolute()


def test_the_environment(tmp_path: Path) -> None:
    settings = load(
        {
            "FLASH_TARGET": "http://host:1234/",
            "FLASH_API_KEY": "k",
            "RUNPOD_API_KEY": "r",
            "FLASH_HOME": str(tmp_path / "h"),
            "FLASH_LOGS": "plain",
            "FLASH_DIRECT": "0",
            "XDG_RUNTIME_DIR": "/run/user/1",
            "PIP_INDEX_URL": "i",
        },
        tmp_path,
    )
    assert (settings.target, settings.target_chosen) == ("http://host:1234", True)
    assert (settings.api_key, settings.runpod_api_key, settings.logs) == ("k", "r", "plain")
    assert (settings.home, settings.runtime_home) == (tmp_path / "h", Path("/run/user/1"))
    assert settings.environ["PIP_INDEX_URL"] == "i"
    assert (settings.direct, load({"FLASH_HOME": str(tmp_path)}, tmp_path).direct) == (False, True)
    with pytest.raises(ConfigError, match="FLASH_DIRECT is 'off'; it must be one of 1, 0"):
        load({"FLASH_HOME": str(tmp_path), "FLASH_DIRECT": "off"}, tmp_path)


def test_what_was_noted_counts_where_the_environment_is_silent(tmp_path: Path) -> None:
    home = {"FLASH_HOME": str(tmp_path)}
    targets.write(tmp_path, Targets().using("https://other", "2").using("https://lab", "1"))
    noted = load(home, tmp_path)
    assert (noted.target, noted.target_chosen, noted.api_key) == ("https://lab", True, "1")
    assert noted.api_key_from == str(tmp_path / "targets.json")
    named = load({**home, "FLASH_TARGET": "https://other/"}, tmp_path)
    assert (named.target, named.api_key) == ("https://other", "2"), "each key is for its own URL"
    assert load({**home, "FLASH_TARGET": "https://third"}, tmp_path).api_key is None
    given = load({**home, "FLASH_API_KEY": "given"}, tmp_path)
    assert (given.target, given.api_key, given.api_key_from) == ("https://lab", "given", "FLASH_API_KEY")
    assert load({**home, "FLASH_TARGET": "local"}, tmp_path).api_key is None
    targets.write(tmp_path, targets.read(tmp_path).using_local())
    assert (load(home, tmp_path).target, load(home, tmp_path).api_key) == ("local", None)


def test_workers_do_not_read_what_was_noted(tmp_path: Path) -> None:
    targets.path_of(tmp_path).write_text("nonsense")
    with pytest.raises(ConfigError, match=r"targets\.json"):
        load({"FLASH_HOME": str(tmp_path)}, tmp_path)
    worker = {"RUNPOD_ENDPOINT_ID": "e", "FLASH_RESOURCE_NAME": "infer", "FLASH_HOME": str(tmp_path)}
    assert load(worker, tmp_path).target == "local"


def test_a_worker_is_told_by_the_process_alone(tmp_path: Path) -> None:
    worker = {"RUNPOD_ENDPOINT_ID": "e", "FLASH_RESOURCE_NAME": "infer"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in worker.items()))
    assert load(worker, tmp_path).in_worker
    for environ in ({}, {"RUNPOD_ENDPOINT_ID": "e"}, {"FLASH_RESOURCE_NAME": "infer"}):
        assert not load(environ, tmp_path).in_worker


def test_the_nearest_env_file_for_our_names_only(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FLASH_TARGET=https://far\n")
    (tmp_path / "project").mkdir()
    text = '# keys\nexport FLASH_API_KEY="from file"\nRUNPOD_API_KEY=$HOME\nPATH=/evil\nFLASH_LOGS\n'
    (tmp_path / "project" / ".env").write_text(text)
    settings = load({"PATH": "/bin"}, tmp_path / "project")
    assert (settings.api_key, settings.runpod_api_key) == ("from file", "$HOME")
    assert settings.environ["PATH"] == "/bin"
    assert settings.target == "local"  # the farther file does not count


def test_the_process_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FLASH_API_KEY=file\n")
    assert load({"FLASH_API_KEY": "process"}, tmp_path).api_key == "process"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"FLASH_TARGET": "moon"}, "FLASH_TARGET is 'moon'; it must be local, inline or the URL"),
        ({"FLASH_ENCODING": "json"}, "FLASH_ENCODING is 'json'; it must be one of auto, neutral"),
        ({"FLASH_LOGS": "loud"}, "FLASH_LOGS is 'loud'; it must be one of auto, marked, plain, off"),
    ],
)
def test_bad_values_are_named(environ: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load(environ, tmp_path)


def test_an_env_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"FLASH_API_KEY=\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"\.env cannot be read"):
        load({}, tmp_path)


def test_keys_are_not_shown(tmp_path: Path) -> None:
    assert "secret" not in repr(load({"FLASH_API_KEY": "secret", "RUNPOD_API_KEY": "secret"}, tmp_path))


def test_a_worker_knows_its_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASH_RESOURCE_NAME", "mine")
    assert not served_here("mine")
    monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "e1")
    assert served_here("mine")
    assert not served_here("other")
    token = serving.set("other")
    try:
        assert served_here("other")
    finally:
        serving.reset(token)
