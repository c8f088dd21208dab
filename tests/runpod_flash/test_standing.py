"""What is settled for the calls of a function stands as long as all that it was settled on."""

import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from runpod_flash import shipping
from runpod_flash.agreement import Provisioned
from runpod_flash.calls import AS_USUAL, JobOptions, RemoteObject, Request
from runpod_flash.crossing import PICKLED
from runpod_flash.endpoint import Endpoint
from runpod_flash.standing import KEPT, Standing, Standings, same_of
from worker_runtime.wire import payload
from worker_runtime.wire.pieces import joined
from worker_runtime.wire.specs import EnvironmentRequest


def doubled(x: int) -> int:
    return 2 * x


spec = Endpoint(name="standing", cpu="cpu3c-1-2")(doubled).spec


def request(**changes: Any) -> Request:
    fields: dict[str, Any] = {"target": doubled, "spec": spec, "args": (1,), "kwargs": {}}
    return Request(**{**fields, **changes})


def standing(target: Any = doubled) -> Standing:
    artifact = shipping.ship(target, name="standing", environment=EnvironmentRequest("3.11"), max_concurrency=1)
    agreed = spec, Provisioned("e", "")
    kind: Any = None
    return Standing((), target, PICKLED, artifact, agreed, kind, ("", artifact.id))


def test_requests_stand_for_each_other_where_only_arguments_differ() -> None:
    same = same_of(request(), by_shape=False)
    assert same == same_of(request(args=(5,), kwargs={"y": 1}), by_shape=False)
    others = [
        request(method="m"),
        request(options=JobOptions(timeout_ms=1)),
        request(retries=3),
        request(stream=True),
        request(target=test_requests_stand_for_each_other_where_only_arguments_differ),
        request(instance=RemoteObject((), {})),
    ]
    assert all(same != same_of(other, by_shape=False) for other in others)
    assert request().options is AS_USUAL


def test_where_code_is_deployed_they_also_fill_the_same_parameters() -> None:
    shapes = [request(), request(args=(5,)), request(args=()), request(kwargs={"y": 1}), request(kwargs={"z": 1})]
    first, *others = [same_of(each, by_shape=True) for each in shapes]
    assert others[0] == first
    assert len({first, *others[1:]}) == 4


def test_it_stands_until_the_endpoint_the_platform_or_the_code_has_changed() -> None:
    it = standing()
    held = {it.holding}
    assert it.stands(it.agreed, held)
    assert not it.stands(None, held)
    assert not it.stands((spec, Provisioned("e", "")), held), "it was agreed on anew"
    assert not it.stands(it.agreed, set()), "the platform has lost the code"


def test_a_changed_global_is_seen() -> None:
    script: dict[str, Any] = {"factor": 1, "__name__": "__main__"}
    exec("def tripled(x): return 3 * x * factor", script)
    it = standing(script["tripled"])
    assert it.stands(it.agreed, {it.holding})
    script["factor"] = 7
    assert not it.stands(it.agreed, {it.holding})


def test_there_are_never_too_many() -> None:
    all_of_them, it = Standings(), standing()
    for number in range(KEPT + 1):
        all_of_them.put((number,), it)
    assert (all_of_them.get((0,)), all_of_them.get((KEPT,))) == (None, it)
    all_of_them.clear()
    assert all_of_them.get((KEPT,)) is None


@pytest.mark.parametrize("value", [1, 2.5, "text ä", b"\0", True, None, (1, [2])])
def test_plain_arguments_are_encoded_as_any_others(value: Any) -> None:
    args, kwargs = (value, 1), {"name": value}
    plain = payload.encode_plain(args, kwargs)
    assert (plain is None) == isinstance(value, tuple), "containers may hold anything"
    if plain is not None:
        assert payload.decode(plain) == payload.decode(payload.encode((args, kwargs))) == (args, kwargs)


class Numbers:
    """Looks like an array of numbers, as far as encoding looks at it."""

    def __init__(self, buffer: Any, **changes: Any) -> None:
        self.buffer = buffer
        self.dtype = SimpleNamespace(**{"kind": "f", "isbuiltin": 0, "metadata": None, **changes})

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Numbers, (pickle.PickleBuffer(self.buffer),)


@pytest.mark.parametrize("size", [10, 20_000, 100_000])
def test_arrays_of_numbers_are_encoded_as_any_others(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    args, kwargs = (Numbers(bytearray(b"a" * size)), 1), {"name": Numbers(bytearray(b"b" * size))}
    assert payload.encode_plain(args, kwargs) is None, "there are no arrays in this program"
    usual = payload.encode((args, kwargs)), payload.encode(args[0])
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace(ndarray=Numbers))
    plain = payload.encode_plain(args, kwargs)
    assert plain is not None
    assert (joined(plain), payload.encode(args[0])) == usual
    for care in ({"kind": "O"}, {"kind": "V"}, {"isbuiltin": 2}, {"metadata": {"a": lambda: 1}}):
        assert payload.encode_plain((Numbers(bytearray(size), **care),), {}) is None, f"{care} may need care"


def test_an_object_that_only_looks_plain_is_not_taken_for_it() -> None:
    class Number(int):
        pass

    assert payload.encode_plain((Number(1),), {}) is None
    assert payload.encode_plain((), {"x": Number(1)}) is None
