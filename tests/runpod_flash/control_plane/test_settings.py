"""The control plane's settings."""

from pathlib import Path

import pytest

from runpod_flash.control_plane import settings
from runpod_flash.errors import ConfigError


def test_defaults(tmp_path: Path) -> None:
    chosen = settings.load({"FLASH_HOME": str(tmp_path)})
    assert not chosen.published_only
    assert (chosen.port, chosen.lease_s, chosen.allow_apt, chosen.fake_gpus) == (0, 10.0, False, None)


def test_the_published_api_alone(tmp_path: Path) -> None:
    assert settings.load({"FLASH_HOME": str(tmp_path), "FLASH_PUBLISHED_ONLY": "1"}).published_only


def test_only_an_allow_list_reaches_workers(tmp_path: Path) -> None:
    others = {"SECRET": "x", "VIRTUAL_ENV": "/v"}
    chosen = settings.load({"FLASH_HOME": str(tmp_path), "PATH": "/bin", "LC_ALL": "C", **others})
    assert chosen.base_env == {"PATH": "/bin", "LC_ALL": "C"}


@pytest.mark.parametrize(
    ("name", "text"), [("FLASH_PORT", "many"), ("FLASH_LEASE_S", "-1"), ("FLASH_IDLE_EXIT_S", "1h")]
)
def test_a_value_that_is_no_number_is_named(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name):
        settings.load({"FLASH_HOME": str(tmp_path), name: text})


def test_a_home_is_needed() -> None:
    with pytest.raises(ConfigError, match="FLASH_HOME"):
        settings.load({})
