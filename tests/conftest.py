"""Fixtures for all tests. No test ever sees the user's own state folder or keys."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.fake_platform import FakePlatform, serving
from tests.support.memory import forget_below
from tests.support.place import Place
from tests.support.processes import end_processes

settings.register_profile("no-timing", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-timing")  # how fast a busy machine is says nothing about the code


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--published-only",
        action="store_true",
        help="control planes that tests start have nothing below /flash/v1/",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    gc.disable()  # nothing of what is collected is garbage: to look for some takes a third of the time


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    """FLASH_HOME of code that runs inside the test process; FLASH_ and RUNPOD_ variables of the user are taken away."""
    home = tmp_path_factory.mktemp("flash-home")
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("FLASH_", "RUNPOD_"))]:
        del os.environ[name]
    os.environ["FLASH_HOME"] = str(home)
    if request.config.getoption("--published-only"):
        os.environ["FLASH_PUBLISHED_ONLY"] = "1"
    yield
    end_processes(home)
    forget_below(tmp_path_factory.getbasetemp())
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A state folder and a project folder for one test. Its control plane is stopped after it; nothing may be left."""
    place = Place.below(tmp_path)
    yield place
    place.close()


@pytest.fixture(scope="session")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One state folder, so one control plane, for all tests that do not mind each other's endpoints."""
    place = Place.below(tmp_path_factory.mktemp("shared"))
    yield place
    place.close()


@pytest.fixture
def platform() -> FakePlatform:
    """A platform that a test scripts."""
    return FakePlatform()


@pytest.fixture
def url(platform: FakePlatform) -> Iterator[str]:
    """Where it is served."""
    with serving(platform) as url:
        yield url
