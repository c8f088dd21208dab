"""`Retries`, as users write it."""

import pickle
from typing import Any

import pytest

from runpod_flash import Endpoint, Retries
from runpod_flash.errors import ConfigError
from runpod_flash.retries import as_sent, check_retries
from worker_runtime.wire.retries import Backoff


class Mine(Exception): ...


def test_exceptions_are_named_by_class_or_by_name() -> None:
    assert Retries(3).on is None
    assert Retries(3, on=ConnectionError).on == ("ConnectionError",)
    assert Retries(3, on="requests.Timeout").on == ("requests.Timeout",)
    assert Retries(3, on=[Mine, "Timeout"]).on == (f"{__name__}.Mine", "Timeout")
    assert Retries(3, on={"b", "a"}) == Retries(3, on=frozenset({"a", "b"})) == Retries(3, on=("a", "b"))


def test_it_is_a_value() -> None:
    one = Retries(3, on=ConnectionError, initial_delay=1)
    assert pickle.loads(pickle.dumps(one)) == one == Retries(3, on="ConnectionError", initial_delay=1.0)
    assert hash(one) == hash(Retries(3, on=ConnectionError))
    assert one != Retries(2, on=ConnectionError)
    with pytest.raises(AttributeError):
        one.max_retries = 4  # type: ignore[misc]
    assert "max_retries=3" in repr(one)


def test_what_is_sent() -> None:
    assert as_sent(None) == (None, None)
    assert as_sent(2) == (2, None)
    retries = Retries(2, on=OSError, initial_delay=0.5, backoff_coefficient=3, max_delay=9)
    assert as_sent(retries) == (2, Backoff(("OSError",), 0.5, 3.0, 9.0))
    assert check_retries(retries) is retries
    assert Endpoint(cpu="cpu3c-1-2", retries=retries).retries == retries


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_retries": -1}, "max_retries= is -1; it must be a whole number of 0 or more"),
        ({"max_retries": True}, "max_retries= is True"),
        ({"on": ()}, "on= is (); it must be an exception class"),
        ({"on": 5}, "on= is 5; it must be an exception class, or the name of one such as 'requests.Timeout'"),
        ({"on": int}, "on= is <class 'int'>"),
        ({"on": "no name"}, "on= is 'no name'"),
        ({"on": ValueError("x")}, "did you mean <class 'ValueError'>?"),
        ({"initial_delay": -1}, "initial_delay= is -1; it must be a number from 0 to 86400 (seconds)"),
        ({"initial_delay": float("nan")}, "initial_delay= is nan"),
        ({"backoff_coefficient": 0.5}, "backoff_coefficient= is 0.5; it must be a number from 1 to 10"),
        ({"max_delay": "60"}, "max_delay= is '60'"),
    ],
)
def test_bad_values_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Retries(**{"max_retries": 1, **options})
    assert said in str(raised.value)


@pytest.mark.parametrize("retries", [-1, True, 1.5, "2"])
def test_an_endpoint_takes_a_number_or_retries(retries: Any) -> None:
    with pytest.raises(ConfigError, match=r"retries= is .*; it must be a whole number of 0 or more or Retries\(…\)"):
        Endpoint(cpu="cpu3c-1-2", retries=retries)
