"""Bytes in, outcome out, in this process."""

import asyncio
import functools
import hashlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from worker_runtime.execute import Artifacts, Execution, Outcome, is_async, run
from worker_runtime.instances import Instances
from worker_runtime.wire import encoding, neutral, payload
from worker_runtime.wire.interface import Interface, Parameter
from worker_runtime.wire.items import Item
from worker_runtime.wire.jobs import INLINE_LIMIT, Call, ErrorKind, Instance, Payload
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

LOADED = []


class Tracked:
    def __init__(self) -> None:
        self.name = "tracked"

    def __setstate__(self, state: Any) -> None:
        LOADED.append(state)
        self.__dict__.update(state)

    def __call__(self) -> str:
        return self.name


class Broken:
    def __reduce__(self) -> Any:
        return _cannot, ()


def _cannot() -> None:
    raise OSError("no such luck")


def add(a: int, b: int = 2) -> int:
    return a + b


async def add_async(a: int, b: int = 2) -> int:
    return a + b


class Host:
    """What a worker's child holds, and short ways to use it."""

    def __init__(self) -> None:
        self.artifacts, self.instances = Artifacts(kept=2), Instances()

    def add(self, target: Any, name: str = "f", entry: str | None = None) -> str:
        code = payload.encode(target) if entry is None else None
        version = hashlib.sha256(code or b"").hexdigest()
        manifest = ArtifactManifest("function", name, version, EnvironmentRequest("3.11"), entry)
        self.artifacts.add(manifest.id, manifest, code)
        return manifest.id

    def run(self, call: Call, values: dict[str, bytes] | None = None) -> Outcome:
        return asyncio.run(run(Execution(call, values or {}, self.artifacts, self.instances)))

    def call(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Outcome:
        return self.run(Call(self.add(target), Payload.of(payload.encode((args, kwargs)))))


@pytest.fixture
def host() -> Iterator[Host]:
    yield Host()
    LOADED.clear()


NOTHING = Payload.of(payload.encode(((), {})))


def test_values_and_exceptions(host: Host) -> None:
    assert payload.decode(host.call(add, 1, b=5).value) == 6
    assert payload.decode(host.call(add_async, 1, b=5).value) == 6
    assert payload.decode(host.call(lambda a: add_async(a), 1).value) == 3
    error = host.call(add, "1").error
    assert error is not None
    assert (error.kind, error.type) == (ErrorKind.USER, "TypeError")


def test_large_arguments_come_as_values(host: Host) -> None:
    encoded = payload.encode((("x" * INLINE_LIMIT,), {}))
    call = Call(host.add(len), Payload.of(encoded))
    assert call.values
    assert payload.decode(host.run(call, {call.values[0]: encoded}).value) == INLINE_LIMIT
    error = host.run(call, {}).error
    assert error is not None
    assert error.kind is ErrorKind.LOAD
    assert call.values[0] in error.message


def test_what_cannot_be_loaded_is_named(host: Host) -> None:
    error = host.call(add, Broken()).error
    assert error is not None
    assert error.kind is ErrorKind.LOAD
    assert error.message == "the arguments of 'f' could not be loaded on the worker: OSError: no such luck"
    unknown = host.run(Call("0" * 64, NOTHING)).error
    assert unknown is not None
    assert unknown.kind is ErrorKind.LOAD
    assert "0000 was not sent" in unknown.message
    missing = host.run(Call(host.add(None, "f", "no_such_module:f"), NOTHING)).error
    assert missing is not None
    assert (missing.kind, missing.type) == (ErrorKind.LOAD, "ModuleNotFoundError")
    assert "importlib" not in missing.traceback


def test_payloads_of_another_python_are_not_unpickled(host: Host) -> None:
    encoded = bytearray(payload.encode(((), {})))
    encoded[4] += 1
    error = host.run(Call(host.add(add), Payload.of(bytes(encoded)))).error
    assert error is not None
    assert error.kind is ErrorKind.LOAD
    assert "Python 3." in error.message


def test_a_module_that_exits_while_it_is_imported(host: Host, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exits_at_once.py").write_text("import sys; sys.exit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    error = host.run(Call(host.add(None, "f", "exits_at_once:f"), NOTHING)).error
    assert error is not None
    assert (error.kind, error.type) == (ErrorKind.LOAD, "SystemExit")
    assert "exits_at_once.py" in error.traceback


def test_loaded_code_is_kept_and_the_oldest_goes(host: Host) -> None:
    call = Call(host.add(Tracked()), NOTHING)
    for _ in range(3):
        assert payload.decode(host.run(call).value) == "tracked"
    assert len(LOADED) == 1
    for number in range(2):
        host.call(lambda number=number: number)
    host.run(call)
    assert len(LOADED) == 2


def test_code_that_is_forgotten_is_not_kept_and_may_come_again(host: Host) -> None:
    call = Call(host.add(Tracked()), NOTHING)
    host.run(call)
    host.artifacts.forget(call.artifact)
    host.artifacts.forget("unknown")
    error = host.run(call).error
    assert error is not None
    assert "was not sent to this worker" in error.message
    host.add(Tracked())
    assert payload.decode(host.run(call).value) == "tracked"
    assert len(LOADED) == 2


def test_methods_without_an_instance_belong_to_the_class(host: Host) -> None:
    letters = Payload.of(payload.encode((("ab",), {})))
    outcome = host.run(Call(host.add(dict, "dict"), letters, method="fromkeys"))
    assert payload.decode(outcome.value) == {"a": None, "b": None}


def test_too_many_instances(host: Host) -> None:
    host.instances = Instances(limit=1)
    artifact = host.add(list, "list")
    append = Payload.of(payload.encode(((1,), {})))
    assert host.run(Call(artifact, append, "append", Instance("one", NOTHING))).error is None
    error = host.run(Call(artifact, append, "append", Instance("two", NOTHING))).error
    assert error is not None
    assert error.kind is ErrorKind.LOAD
    assert "already holds 1 instances" in error.message


def neutral_call(artifact: str, *args: Any, **kwargs: Any) -> Call:
    return Call(artifact, Payload.of(neutral.encode((args, kwargs), encoding.ON_WORKERS).data))


def test_the_answer_is_in_the_encoding_of_the_call(host: Host) -> None:
    artifact = host.add(add)
    answer = host.run(neutral_call(artifact, 1, b=5))
    assert neutral.is_neutral(answer.value)
    assert encoding.decode(answer.value, encoding.ON_WORKERS) == 6
    assert not neutral.is_neutral(host.call(add, 1).value)
    failed = host.run(neutral_call(artifact, 1, b="x")).error
    assert failed is not None
    assert failed.exception is not None
    assert isinstance(encoding.decode(failed.exception, encoding.ON_WORKERS), TypeError)


def test_a_result_that_only_a_pickle_could_carry_is_named_with_both_versions(host: Host) -> None:
    answer = host.run(
        neutral_call(
            host.add(lambda: {"a": [Tracked]}),
        )
    ).error
    assert answer is not None
    assert (answer.kind, answer.type) == (ErrorKind.UNPICKLABLE_RESULT, "CannotTravel")
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert "['a'][0] in the result of 'f' is a type (Tracked), which only a pickle could carry" in answer.message
    assert f"from Python {here} (the endpoint) to {here} (the caller)" in answer.message


def test_pickles_are_not_loaded_where_none_may_be() -> None:
    host = Host()
    host.artifacts = Artifacts(pickles=False)
    by_pickle = host.run(Call(host.add(add), NOTHING)).error
    assert by_pickle is not None
    assert by_pickle.kind is ErrorKind.LOAD
    assert "it is a pickle, and this platform loads no pickles of yours" in by_pickle.message
    by_name = host.add(add, entry=f"{__name__}:add")
    LOADED.clear()
    sent = Payload.of(payload.encode(((Tracked(),), {})))
    refused = host.run(Call(by_name, sent)).error
    assert refused is not None
    assert "loads no pickles of yours; send values in the neutral encoding" in refused.message
    assert LOADED == []
    assert encoding.decode(host.run(neutral_call(by_name, 1)).value, encoding.ON_WORKERS) == 3


class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, number: int) -> int:
        self.value += number
        return self.value

    async def letters(self, text: str) -> AsyncIterator[str]:
        for letter in text:
            yield letter


class Needy:
    def __init__(self, start): ...  # type: ignore[no-untyped-def]  # as users write them
    def go(self): ...  # type: ignore[no-untyped-def]


class Picky:
    def __init__(self) -> None:
        raise RuntimeError("not today")


class Items:
    """A sink that keeps what comes."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def put(self, item: Item) -> None:
        self.items.append(item)

    async def put_async(self, item: Item) -> None:
        self.items.append(item)


def deploy(host: Host, target: Any, **calls: tuple[str, ...]) -> str:
    """A function or class with the parameters of its calls; `f` is the call of a function."""
    named = {"" if name == "f" else name: tuple(map(Parameter, names)) for name, names in calls.items()}
    code = payload.encode(target)
    version = hashlib.sha256(code).hexdigest()
    manifest = ArtifactManifest("function", "f", version, EnvironmentRequest("3.11"), interface=Interface(named))
    host.artifacts.add(manifest.id, manifest, code)
    return manifest.id


def plain(host: Host, artifact: str, given: str, method: str | None = None, sink: Items | None = None) -> Any:
    call = Call(artifact, Payload.inlined(given.encode()), method, plain=True)
    outcome = asyncio.run(run(Execution(call, {}, host.artifacts, host.instances, sink or Items())))
    return outcome.error or outcome.value


def test_plain_json_comes_and_goes(host: Host) -> None:
    adds = [deploy(host, target, f=("a", "b")) for target in (add, add_async)]
    assert [plain(host, artifact, '{"a": 1, "b": 4}') for artifact in adds] == [b"5", b"5"]
    assert plain(host, deploy(host, add_async, f=("a",)), '{"a": 1}') == b"3"
    refused = plain(host, deploy(host, lambda: {"x": b""}, f=()), "{}")
    assert (refused.kind, refused.exception) == (ErrorKind.UNPICKLABLE_RESULT, None)
    assert refused.message.startswith("['x'] in the result of 'f' is bytes")
    raised = plain(host, deploy(host, _cannot, f=()), "{}")
    assert (raised.type, raised.message, raised.exception) == ("OSError", "no such luck", None)
    wrong = plain(host, adds[0], '{"c": 1}')
    assert (wrong.kind, wrong.type, wrong.traceback) == (ErrorKind.LOAD, "CallError", "")
    assert wrong.message.startswith("field 'input.c' is unknown")


def test_plain_calls_of_a_class_share_one_object(host: Host) -> None:
    artifact = deploy(host, Counter, add=("number",), letters=("text",))
    assert [plain(host, artifact, '{"number": 2, "method": "add"}', "add") for _ in range(2)] == [b"2", b"4"]
    sink = Items()
    assert plain(host, artifact, '{"text": "ab", "method": "letters"}', "letters", sink) == b'["a","b"]'
    assert [(item.data, item.plain) for item in sink.items] == [(b'"a"', True), (b'"b"', True)]
    own = Instance("mine", Payload.of(payload.encode(((10,), {}))))
    rich = host.run(Call(artifact, Payload.of(payload.encode(((1,), {}))), "add", own))
    assert payload.decode(rich.value) == 11
    needy = plain(host, deploy(host, Needy, go=()), "{}", "go")
    assert (needy.kind, "class 'Needy' cannot be made without arguments" in needy.message) == (ErrorKind.LOAD, True)
    failed = plain(host, deploy(host, Picky, go=()), "{}", "go")
    assert failed.message == "not today"


def test_a_check_loads_the_code_and_makes_the_object_but_calls_nothing(host: Host) -> None:
    def check(artifact: str) -> Outcome:
        return host.run(Call(artifact, Payload.inlined(b""), check=True))

    assert check(deploy(host, _cannot, f=())) == Outcome()
    counter = deploy(host, Counter, add=("number",))
    assert check(counter) == Outcome()
    assert [type(each) for each in host.instances.remove_all()] == [Counter]
    failed = check(deploy(host, Picky, go=())).error
    assert failed is not None
    assert failed.message == "not today"
    assert check(deploy(host, Needy, go=())) == Outcome()  # callers with our SDK say what it is made with
    absent = check("0" * 64).error
    assert absent is not None
    assert absent.kind is ErrorKind.LOAD


def test_a_script_that_fails_on_import_is_told_what_its_guard_is_for(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__flash_main__", ModuleType("__flash_main__"))
    failed = host.run(Call(host.add(add, entry="__flash_main__:f"), NOTHING)).error
    assert failed is not None
    assert failed.kind is ErrorKind.LOAD
    assert "put there what the caller alone shall run" in failed.message


def test_asynchronous_things_are_recognised() -> None:
    class Callable:
        async def __call__(self) -> None: ...

    assert is_async(add_async)
    assert is_async(functools.partial(add_async, 1))
    assert is_async(Callable())
    assert not is_async(Callable)
    assert not is_async(add)
    assert not is_async(None)


def test_running_leaves_no_trace_in_the_interpreter(host: Host) -> None:
    before = dict(sys.modules)
    host.call(add, 1)
    assert set(sys.modules) == set(before)
