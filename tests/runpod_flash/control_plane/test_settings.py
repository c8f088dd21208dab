"""The control plane's settings."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane import settings
from runpod_flash.control_plane.limits import Limits, Rate
from runpod_flash.control_plane.listen import Listen, Tls
from runpod_flash.control_plane.principals import Pickles
from runpod_flash.errors import ConfigError
from tests.support.certificates import make_certificate


def test_defaults(tmp_path: Path) -> None:
    chosen = settings.load({"FLASH_HOME": str(tmp_path)})
    assert not chosen.published_only
    assert (chosen.port, chosen.lease_s, chosen.allow_apt, chosen.fake_gpus) == (0, 10.0, False, None)


def test_the_published_api_alone(tmp_path: Path) -> None:
    assert settings.load({"FLASH_HOME": str(tmp_path), "FLASH_PUBLISHED_ONLY": "1"}).published_only


def test_what_runs_images(tmp_path: Path) -> None:
    env = {"FLASH_HOME": str(tmp_path), "PATH": "/bin", "DOCKER_HOST": "unix:///x", "SECRET": "x"}
    usual = settings.load(env)
    assert (usual.container_engine, usual.allow_images) == ("", False)
    assert usual.engine_env == {"PATH": "/bin", "DOCKER_HOST": "unix:///x"}
    assert "DOCKER_HOST" not in usual.base_env  # workers have nothing to do with it
    chosen = settings.load({**env, "FLASH_CONTAINER_ENGINE": "podman", "FLASH_ALLOW_IMAGES": "1"})
    assert (chosen.container_engine, chosen.allow_images) == ("podman", True)


def test_the_version_of_a_stand_in_driver(tmp_path: Path) -> None:
    env = {"FLASH_HOME": str(tmp_path)}
    assert settings.load({**env, "FLASH_FAKE_CUDA": "12.4"}).fake_cuda == "12.4"
    with pytest.raises(ConfigError, match="FLASH_FAKE_CUDA is 'new'; it must be a version such as"):
        settings.load({**env, "FLASH_FAKE_CUDA": "new"})


def test_only_an_allow_list_reaches_workers(tmp_path: Path) -> None:
    others = {"SECRET": "x", "VIRTUAL_ENV": "/v"}
    chosen = settings.load({"FLASH_HOME": str(tmp_path), "PATH": "/bin", "LC_ALL": "C", **others})
    assert chosen.base_env == {"PATH": "/bin", "LC_ALL": "C"}


def test_where_other_pythons_are(tmp_path: Path) -> None:
    home = {"FLASH_HOME": str(tmp_path)}
    usual = settings.load({**home, "HOME": "/home/me", "PATH": "/a:/b"}).pythons
    assert (usual.named, usual.path, usual.pyenv, usual.download) == ((), ("/a", "/b"), Path("/home/me/.pyenv"), False)
    more = {"FLASH_PYTHONS": "/x/python3.13:/y", "PYENV_ROOT": "/p", "FLASH_DOWNLOAD_PYTHON": "1"}
    chosen = settings.load({**home, **more}).pythons
    assert (chosen.named, chosen.pyenv, chosen.download) == (("/x/python3.13", "/y"), Path("/p"), True)


def test_whose_pickles_are_loaded(tmp_path: Path) -> None:
    home = {"FLASH_HOME": str(tmp_path)}
    assert settings.load(home).pickles is Pickles.EVERYBODY
    assert settings.load({**home, "FLASH_PICKLES": "owner"}).pickles is Pickles.OWNER
    with pytest.raises(ConfigError, match="FLASH_PICKLES is 'mine'; it must be everybody or owner or nobody"):
        settings.load({**home, "FLASH_PICKLES": "mine"})


def test_when_workers_are_lent_and_forked(tmp_path: Path) -> None:
    home = {"FLASH_HOME": str(tmp_path)}
    assert (settings.load(home).lends, settings.load(home).forks) == (True, True)
    assert not settings.load({**home, "FLASH_DIRECT": "0"}).lends
    assert not settings.load({**home, "FLASH_DURABILITY": "power"}).lends
    assert not settings.load({**home, "FLASH_FORK": "0"}).forks
    for name in ("FLASH_DIRECT", "FLASH_FORK"):
        with pytest.raises(ConfigError, match=f"{name} is 'off'; it must be 1 or 0"):
            settings.load({**home, name: "off"})


@pytest.mark.parametrize(
    ("name", "text"), [("FLASH_PORT", "many"), ("FLASH_LEASE_S", "-1"), ("FLASH_IDLE_EXIT_S", "1h")]
)
def test_a_value_that_is_no_number_is_named(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name):
        settings.load({"FLASH_HOME": str(tmp_path), name: text})


def test_a_home_is_needed() -> None:
    with pytest.raises(ConfigError, match="FLASH_HOME"):
        settings.load({})


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "0x1"])
def test_numbers_are_finite(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="FLASH_LEASE_S"):
        settings.load({"FLASH_HOME": str(tmp_path), "FLASH_LEASE_S": text})


def test_where_it_listens(tmp_path: Path) -> None:
    home = {"FLASH_HOME": str(tmp_path)}
    assert settings.load(home).listen is None
    found = settings.load({**home, "FLASH_LISTEN": "0.0.0.0:80", "FLASH_INSECURE": "1"}).listen
    assert found == Listen("0.0.0.0", 80, insecure=True)
    cert, key = make_certificate(tmp_path)
    files = {"FLASH_TLS_CERT": str(cert), "FLASH_TLS_KEY": str(key)}
    assert settings.load({**home, "FLASH_LISTEN": "h:80", **files}).listen == Listen("h", 80, Tls(cert, key))
    with pytest.raises(ConfigError, match="FLASH_LISTEN"):
        settings.load({**home, "FLASH_LISTEN": "0.0.0.0:80", "FLASH_INSECURE": "yes"})


def _other(value: Any) -> tuple[str, Any]:
    """A text for the environment that means another value than this one, and that value."""
    if isinstance(value, bool):
        return "1", True
    if isinstance(value, str):
        return "everybody", "everybody"
    return str(value + 1), value + 1


def test_every_limit_can_be_set(tmp_path: Path) -> None:
    usual, env = Limits(), {"FLASH_HOME": str(tmp_path)}
    assert settings.load(env).limits == usual
    simple = [field.name for field in fields(Limits) if field.name != "rates"]
    for name in simple:
        text, value = _other(getattr(usual, name))
        chosen = settings.load({**env, f"FLASH_{name.upper()}": text}).limits
        assert chosen == replace(usual, **{name: value})
        assert type(getattr(chosen, name)) is type(getattr(usual, name))
    for operation in usual.rates:
        chosen = settings.load({**env, f"FLASH_RATE_{operation.upper().replace('-', '_')}": "7/3"}).limits
        assert chosen == replace(usual, rates={**usual.rates, operation: Rate(7, 3)})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("FLASH_RUN_BYTES", "1.5", "above 0"),
        ("FLASH_RUN_BYTES", "0", "above 0"),
        ("FLASH_PING_S", "0", "above 0"),
        ("FLASH_HEALTH_S", "nan", "above 0"),
        ("FLASH_QUEUE_FLOOR", "-1", "0 or more"),
        ("FLASH_RATED", "me", "keys or nobody or everybody"),
        ("FLASH_RATE_RUN", "1000", "REQUESTS/CONCURRENT, for example 1000/200"),
        ("FLASH_RATE_RUN", "a/b", "REQUESTS/CONCURRENT"),
        ("FLASH_RATE_RUN", "1/-1", "REQUESTS/CONCURRENT"),
        ("FLASH_RATE_PURGE_QUEUE", "1/2/3", "for example 2/0"),
    ],
)
def test_a_limit_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is .*{said}"):
        settings.load({"FLASH_HOME": str(tmp_path), name: text})
