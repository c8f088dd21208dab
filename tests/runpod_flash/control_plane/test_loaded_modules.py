"""What is known of the modules that functions import."""

import pytest

from runpod_flash.control_plane import loaded_modules
from runpod_flash.control_plane.fleet import Code, Pool, PoolKey
from runpod_flash.control_plane.loaded_modules import LoadedModules
from worker_runtime.wire.specs import EnvironmentRequest


def pool(artifact: str = "a1", environment: str = "env", preload: tuple[str, ...] = ()) -> Pool:
    """Workers of a function."""
    wanted = EnvironmentRequest("3.11", preload=preload)
    return Pool(PoolKey("e1", environment, "", 1), "palette", Code(wanted, artifact))


def test_what_one_worker_told_holds_for_the_next_of_the_same_code_in_the_same_environment() -> None:
    loaded = LoadedModules()
    assert loaded.note(pool(), ["numpy", "PIL"])
    assert loaded.of(pool()) == ("numpy", "PIL")
    assert loaded.of(pool("a2")) == ()
    assert loaded.of(pool(environment="another")) == ()


def test_it_is_news_only_where_something_is_new() -> None:
    loaded = LoadedModules()
    assert not loaded.note(pool(), [])
    assert loaded.note(pool(), ["numpy"])
    assert not loaded.note(pool(), ["numpy"])
    assert loaded.note(pool(), ["scipy", "numpy"])
    assert loaded.of(pool()) == ("numpy", "scipy")


def test_what_the_endpoint_names_comes_first_and_once() -> None:
    loaded, named = LoadedModules(), pool(preload=("torch", "numpy"))
    assert loaded.of(named) == ("torch", "numpy")
    assert not loaded.note(named, ["numpy"])
    assert loaded.note(named, ["numpy", "PIL"])
    assert loaded.of(named) == ("torch", "numpy", "PIL")


def test_what_is_no_name_is_passed_over() -> None:
    loaded = LoadedModules()
    assert loaded.note(pool(), [7, None, "numpy", {"a": 1}])
    assert loaded.of(pool()) == ("numpy",)


def test_commands_have_none() -> None:
    loaded, command = LoadedModules(), Pool(PoolKey("e1", "env", "", 1), "palette", None)
    assert not loaded.note(command, ["numpy"])
    assert loaded.of(command) == ()


def test_of_many_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_modules, "_KEPT", 2)
    loaded = LoadedModules()
    for artifact in ("a1", "a2", "a1", "a3"):
        loaded.note(pool(artifact), ["numpy"])
    assert [loaded.of(pool(artifact)) for artifact in ("a1", "a2", "a3")] == [("numpy",), (), ("numpy",)]
