"""Fixtures: the control plane under test, the real clients, endpoints that run the handlers."""

from collections.abc import Iterator

import httpx
import pytest

from tests.conformance import settings
from tests.conformance.endpoints import Deployments
from tests.conformance.environments import Clients, clients
from tests.conformance.running import Runner
from tests.conformance.target import Target, chosen_target

CHOSEN = settings.load()  # here, because the fixtures of all tests take the FLASH_ variables away


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The control plane under test."""
    with chosen_target(CHOSEN, tmp_path_factory.mktemp("conformance")) as found:
        yield found


@pytest.fixture(scope="session")
def real() -> Clients:
    """The real clients."""
    return clients()


@pytest.fixture(scope="session")
def http(target: Target) -> Iterator[httpx.Client]:
    """A plain HTTP client with the key."""
    headers = {"Authorization": f"Bearer {target.key}"}
    with httpx.Client(base_url=target.url, headers=headers, trust_env=False, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def deployed(target: Target, http: httpx.Client, real: Clients) -> Iterator[Deployments]:
    """Endpoints on demand; all tests share them."""
    deployments = Deployments(target, http, real.path())
    yield deployments
    deployments.close()


@pytest.fixture(scope="session")
def runner(target: Target, real: Clients, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Runs programs with the real clients."""
    return Runner.below(tmp_path_factory.mktemp("clients"), target, real)


@pytest.fixture
def own(target: Target) -> Target:
    """The target, where its workers are processes of this machine; else the test is skipped."""
    if not target.same_machine or target.endpoints:
        pytest.skip("looks at processes and files of the control plane, which is elsewhere")
    return target
