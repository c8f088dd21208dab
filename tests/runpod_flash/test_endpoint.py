"""Declaring endpoints."""

import functools
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from runpod_flash import Endpoint, ServerlessScalerType
from runpod_flash.errors import ConfigError, UnknownOption
from runpod_flash.remote import AsyncRemoteFunction, RemoteClass, RemoteFunction, RemoteGenerator


def plain(x: int) -> int:
    """Adds one."""
    return x + 1


async def waits(x: int) -> int:
    return x


class Model:
    pass


def generator() -> Iterator[int]:
    yield 1


def test_the_signature_has_the_order_and_defaults_of_the_original() -> None:
    parameters = inspect.signature(Endpoint).parameters
    assert list(parameters) == [
        "name", "id", "gpu", "cpu", "workers", "idle_timeout", "dependencies", "system_dependencies",
        "accelerate_downloads", "volume", "datacenter", "env", "gpu_count", "execution_timeout_ms", "flashboot",
        "image", "scaler_type", "scaler_value", "template", "min_cuda_version", "max_concurrency", "python_version",
        "retries", "batch", "preload", "unknown",
    ]  # fmt: skip
    assert parameters["name"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert parameters["gpu"].kind is inspect.Parameter.KEYWORD_ONLY


def test_options_are_checked_at_once() -> None:
    with pytest.raises(ConfigError, match="workers="):
        Endpoint(workers=-1)
    with pytest.raises(UnknownOption, match="did you mean dependencies="):
        Endpoint(dependancies=["x"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="exclude each other"):
        Endpoint(gpu="any", cpu="cpu3c-1-2")


def test_options_can_be_read_and_not_changed() -> None:
    endpoint = Endpoint("x", cpu="cpu3c-1-2", workers=(1, 3), dependencies=["a"], env={"A": "b"})
    assert (endpoint.name, endpoint.is_cpu, endpoint.workers_min, endpoint.workers_max) == ("x", True, 1, 3)
    assert (endpoint.dependencies, endpoint.system_dependencies, endpoint.env) == (["a"], None, {"A": "b"})
    assert (endpoint.scaler_type, endpoint.scaler_value) == (ServerlessScalerType.QUEUE_DELAY, 4)
    assert (endpoint.is_client, endpoint.is_load_balanced, endpoint.idle_timeout) == (False, False, 60)
    with pytest.raises(AttributeError, match="declare another Endpoint"):
        endpoint.workers_max = 5
    assert repr(endpoint) == "Endpoint('x', cpu=[cpu3c-1-2])"


def test_what_it_gives_back() -> None:
    assert type(Endpoint()(plain)) is RemoteFunction
    assert type(Endpoint()(waits)) is AsyncRemoteFunction
    assert type(Endpoint()(Model)) is RemoteClass


def test_the_name_is_that_of_the_target_unless_given() -> None:
    assert Endpoint()(plain).spec.name == "plain"
    assert Endpoint("named")(plain).spec.name == "named"
    shared = Endpoint()
    assert (shared(plain).spec.name, shared(Model).spec.name) == ("plain", "Model")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (5, "not 5 \\(a int\\)"),
        (functools.partial(plain, 1), "not functools.partial.*\\(a partial\\)"),
        (len, "not len \\(a builtin_function_or_method\\)"),
        (Model().__init__, "method-wrapper"),
        (staticmethod(plain), "not plain \\(a staticmethod\\)"),
        (lambda x: x, "give the endpoint one with name="),
        (Endpoint("x", cpu="cpu3c-1-2")(plain), "which is on an endpoint already"),
    ],
)
def test_anything_else_is_refused_by_name(target: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Endpoint()(target)


def test_a_default_name_is_checked_as_a_given_one() -> None:
    target = plain
    long = type("f" * 200, (), {})
    with pytest.raises(ConfigError, match="name="):
        Endpoint()(long)
    assert Endpoint()(target).spec.name == "plain"


def test_on_a_worker_of_the_endpoint_the_original_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "e1")
    monkeypatch.setenv("FLASH_RESOURCE_NAME", "plain")
    assert Endpoint()(plain) is plain  # type: ignore[comparison-overlap]
    assert type(Endpoint("other")(plain)) is RemoteFunction


def test_jobs_of_an_endpoint_need_its_name() -> None:
    with pytest.raises(ConfigError, match=r"job\(\) needs to know the endpoint; give it a name: Endpoint\(name=…\)"):
        Endpoint(cpu="cpu3c-1-2").job("id")
    with pytest.raises(ConfigError, match=r"recover\(\) needs to know the endpoint"):
        Endpoint(cpu="cpu3c-1-2").recover()
    assert Endpoint("x").job("the-id").id == "the-id"


def test_a_generator_is_a_function_with_a_stream() -> None:
    found = Endpoint("x", cpu="cpu3c-1-2")(generator)
    assert isinstance(found, RemoteGenerator)
    assert not inspect.iscoroutinefunction(found)
    assert list(found.local()) == list(generator())
    again = pickle.loads(pickle.dumps(found))
    assert type(again) is RemoteGenerator
