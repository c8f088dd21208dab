"""What short addresses add to a job's body."""

import json
from typing import Any

import pytest

from flash_cli.dev.bodies import completed
from flash_cli.dev.table import Place

PLAIN = Place("f", "runsync", "/runsync", short=True)
METHOD = Place("m", "runsync", "/runsync", call="train", short=True)
EMPTY = {"__empty": True}


def body(value: Any, place: Place = PLAIN) -> Any:
    return json.loads(completed(json.dumps(value).encode(), place))


def test_no_body_is_a_call_without_arguments() -> None:
    assert json.loads(completed(b"", PLAIN)) == {"input": EMPTY}
    assert json.loads(completed(b" \n", METHOD)) == {"input": {"method": "train"}}


@pytest.mark.parametrize("given", [{"input": {"x": 1}, "policy": {"ttl": 1}}, {"input": [1]}, {"data": 1}, [1], "x"])
def test_what_is_whole_or_wrong_stays_as_it_is(given: Any) -> None:
    assert body(given) == given


def test_what_is_no_json_stays_as_it_is() -> None:
    assert completed(b"{no", METHOD) == b"{no"


def test_an_empty_input_has_a_mark() -> None:
    assert body({"input": {}, "webhook": "http://x"}) == {"input": EMPTY, "webhook": "http://x"}


def test_a_function_without_parameters_needs_no_input() -> None:
    assert body({}, Place("f", "run", "/run", takes_nothing=True, short=True)) == {"input": EMPTY}
    assert body({}) == {}


def test_the_method_of_the_path_is_put_in() -> None:
    assert body({"input": {"rate": 1}}, METHOD) == {"input": {"rate": 1, "method": "train"}}
    assert body({"input": EMPTY}, METHOD) == {"input": {"method": "train"}}
    rich = {"input": {"flash": {"arguments": {}}}}
    assert body(rich, METHOD) == rich
