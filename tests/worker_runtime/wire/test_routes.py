"""Routes as names: what is written, read, and refused."""

import json
import os.path
from typing import Any

import pytest

from worker_runtime.wire import payload
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.routes import Served, ServedRoute, by_name, from_names, is_by_name


def entry(function: Any) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def test_names_become_the_same_routes() -> None:
    served = Served((ServedRoute("GET", "/x", os.path.basename, {}), ServedRoute("POST", "/y", json.dumps, {})))
    code = by_name(served, entry)
    assert is_by_name(code)
    assert from_names(code) == served
    application = Served(make_app=json.JSONDecoder.decode)
    assert from_names(by_name(application, entry)) == application


def test_a_pickle_is_not_taken_for_names() -> None:
    assert not is_by_name(payload.encode(Served()))


@pytest.mark.parametrize(
    "code", [b"{", b"{}", b'{"routes": [1], "app": null}', b'{"routes": [["GET", "/"]], "app": null}']
)
def test_what_cannot_be_read_is_told(code: bytes) -> None:
    with pytest.raises(WireError, match="names of routes cannot be read"):
        from_names(code)


def test_a_module_that_is_not_there_is_its_own_error() -> None:
    with pytest.raises(ModuleNotFoundError):
        from_names(b'{"routes": [["GET", "/x", "no_such_module:f"]], "app": null}')
