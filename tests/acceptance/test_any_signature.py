"""Any signature and call that plain Python takes gives remotely what it gives here; what it refuses is not sent.

The same for whatever a function raises. Many examples run in this process, fewer over a real control plane.
"""

import asyncio
import copy
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runpod_flash import Endpoint
from runpod_flash import settings as flash_settings
from runpod_flash.errors import CallError, RemoteError
from runpod_flash.session import Session, use
from tests.support.any_call import PRELUDE, VALUES, Arguments, Signature, arguments, signatures
from tests.support.place import Place

EXAMPLES = {"inline": 150, "real": 60, "inline, many": 3000}
FUNCTIONS = {
    "def": "def target({signature}):\n    return told({names})\n",
    "async def": "async def target({signature}):\n    await asyncio.sleep(0)\n    return told({names})\n",
    "lambda": "target = lambda {bare}: told({names})\n",
    "closure": """
        def make(kept):
            def target({signature}):
                return told(kept, {names})
            return target
        target = make([1])
    """,
    "wrapped, as it is": """
        def inner({signature}):
            return told({names})
        @functools.wraps(inner)
        def target(*given, **named):
            return inner(*given, **named)
    """,
    "wrapped, with another signature": """
        def inner(taken, also_taken):
            return None
        @functools.wraps(inner)
        def target({signature}):
            return told({names})
    """,
    "with a signature set by hand": """
        def target({signature}):
            return told({names})
        target.__signature__ = inspect.Signature([inspect.Parameter("x", inspect.Parameter.POSITIONAL_ONLY)])
    """,
}
CLASSES = {
    "method": "def method({signature_me}):\n    return told({names})\n",
    "async method": "async def method({signature_me}):\n    return told({names})\n",
    "static method": "@staticmethod\ndef method({signature}):\n    return told({names})\n",
    "class method": "@classmethod\ndef method({signature_me}):\n    return told(me.__name__, {names})\n",
    "lambda": "method = lambda {bare_me}: told({names})\n",
    "another name": "def meant({signature_me}):\n    return told({names})\nmethod = meant\n",
    "called itself": "def __call__({signature_me}):\n    return told({names})\n",
    "self among others": "def method(*me, **named):\n    return told(len(me), me[1:], named)\n",
    "partial": """
        def whole(me, taken, {signature}):
            return told(taken, {names})
        method = functools.partialmethod(whole, "ahead")
    """,
    "constructor": """
        def __init__({signature_me}):
            me.given = told({names})
        def method(me):
            return me.given
    """,
    "constructor that makes": """
        def __new__({signature_me}):
            made = object.__new__(me)
            made.given = told({names})
            return made
        def method(me):
            return me.given
    """,
}
_number = itertools.count()


@dataclass(frozen=True)
class Platform:
    """Where calls go, and how many examples are reasonable there."""

    session: Session
    examples: int


@pytest.fixture(
    scope="module",
    params=[
        "real",
        pytest.param("inline", marks=pytest.mark.slow),
        pytest.param("inline, many", marks=(pytest.mark.slow, pytest.mark.timeout(600))),
    ],
)
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One in this process, and a real control plane with one worker."""
    with ExitStack() as stack:
        if request.param != "real":
            folder = tmp_path_factory.mktemp("inline")
            chosen = flash_settings.Settings(target="inline", home=folder)
        else:
            place: Place = request.getfixturevalue("shared_place")
            folder = place.project
            chosen = flash_settings.load(place.env(), folder)
        session = stack.enter_context(use(Session(chosen, project=folder)))
        yield Platform(session, EXAMPLES[request.param])


def tried(platform: Platform, test: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
    """Run a property as often as is reasonable on this platform."""
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run = settings(max_examples=platform.examples, deadline=None, suppress_health_check=health, derandomize=True)
    run(given(*strategies)(test))()


def written(source: str, signature: Signature) -> str:
    """The source with its parameters."""
    return textwrap.dedent(source).format(
        signature=signature.text(),
        signature_me=signature.text("me"),
        bare=signature.text(annotations=False),
        bare_me=signature.text("me", annotations=False),
        names=", ".join(signature.names),
    )


def twins(text: str, name: str) -> tuple[Any, Any]:
    """What the text defines under a name, twice: calling one changes no default of the other.

    Both stand in `__main__`, as a user's script does, and no worker has seen them before.
    """
    code = compile(PRELUDE + text.replace("told(", f"told({next(_number)}, "), "script.py", "exec")
    namespaces: list[dict[str, Any]] = [{"__name__": "__main__"} for _ in range(2)]
    for namespace in namespaces:
        exec(code, namespace)
    return namespaces[0][name], namespaces[1][name]


def outcome(call: Callable[[], Any]) -> Any:
    """The value of a call, awaited where need be; or, where Python refuses the arguments, TypeError."""
    try:
        value = call()
        return asyncio.run(value) if inspect.iscoroutine(value) else value
    except TypeError:
        return TypeError


def agrees(remote: Callable[..., Any], local: Callable[..., Any], given: Arguments, refused: type = CallError) -> None:
    """The remote call gives what the local one does; what is refused there is refused here, before it is sent."""
    mine, value = copy.deepcopy(given), outcome(lambda: local(*given.args, **given.kwargs))
    if value is TypeError:
        with pytest.raises(refused):
            remote(*mine.args, **mine.kwargs)
    else:
        assert remote(*mine.args, **mine.kwargs) == value


FORMS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "await f()": lambda f: lambda *args, **kwargs: asyncio.run(f(*args, **kwargs)),
    "f.remote()": lambda f: f.remote,
    "f.spawn()": lambda f: lambda *args, **kwargs: f.spawn(*args, **kwargs).result.blocking(),
}


@st.composite
def calls(draw: st.DrawFn, sources: dict[str, str]) -> tuple[str, str, Arguments, str]:
    """A kind, its source with parameters, arguments, and a form of calling."""
    kind = draw(st.sampled_from(list(sources)))
    signature = draw(signatures(reserved=("me", "taken")))
    return kind, written(sources[kind], signature), draw(arguments(signature)), draw(st.sampled_from(list(FORMS)))


def test_functions(platform: Platform) -> None:
    def compare(case: tuple[str, str, Arguments, str]) -> None:
        kind, text, given, form = case
        plain, target = twins(text, "target")
        remote = Endpoint(name="any-function", cpu="cpu3c-1-2")(target)
        # A wrapper takes all; what it calls refuses, on the worker.
        agrees(FORMS[form](remote), plain, given, TypeError if kind == "wrapped, as it is" else CallError)

    tried(platform, compare, calls(FUNCTIONS))


def test_methods_and_constructors(platform: Platform) -> None:
    def compare(case: tuple[str, str, Arguments, str]) -> None:
        kind, text, given, form = case
        body = textwrap.indent(text, "    ")
        plain, target = twins(f"class Target:\n{body}", "Target")
        remote = Endpoint(name="any-class", cpu="cpu3c-1-2")(target)
        if kind.startswith("constructor"):
            agrees(
                lambda *args, **kwargs: FORMS[form](remote(*args, **kwargs).method)(),
                lambda *args, **kwargs: plain(*args, **kwargs).method(),
                given,
            )
        elif kind == "called itself":
            made = remote()
            agrees(lambda *args, **kwargs: asyncio.run(made(*args, **kwargs)), plain(), given)
        else:
            agrees(FORMS[form](remote().method), plain().method, given)

    tried(platform, compare, calls(CLASSES))


RAISING = """
import builtins
class Plain(Exception): made_for = "{kind}"
class Known(Plain):
    def __init__(self, code, text="unknown"):
        super().__init__(code, text)
        self.code = code
class Rebuilt(Plain):
    def __init__(self, *, code): super().__init__(f"code {{code}}"); self.code = code
    def __reduce__(self): return functools.partial(Rebuilt, code=self.code), ()
KINDS = {{kind.__name__: kind for kind in (Plain, Known, Rebuilt)}}
{kind} target(name, args, named, attributes, notes, cause):
    error = KINDS.get(name, getattr(builtins, name, None))(*args, **named)
    for name, value in attributes.items(): setattr(error, name, value)
    for note in notes: error.add_note(note)
    if cause is None: raise error
    try: raise KeyError(cause)
    except KeyError as first: raise error from first
"""
TEXTS = st.text(max_size=8)
EXCEPTIONS: st.SearchStrategy[tuple[str, tuple[Any, ...], dict[str, Any]]] = st.one_of(
    st.tuples(
        st.sampled_from(["ValueError", "KeyError", "TypeError", "LookupError", "TimeoutError", "Exception", "Plain"]),
        st.lists(VALUES, max_size=3).map(tuple),
        st.just({}),
    ),
    st.tuples(
        st.sampled_from(["OSError", "ConnectionResetError", "FileNotFoundError"]),
        st.tuples(st.integers(1, 60), TEXTS) | st.tuples(st.integers(1, 60), TEXTS, TEXTS),
        st.just({}),
    ),
    st.tuples(st.just("ImportError"), st.tuples(TEXTS), st.fixed_dictionaries({"name": TEXTS, "path": TEXTS})),
    st.tuples(st.just("UnicodeDecodeError"), st.tuples(TEXTS, st.binary(), st.just(0), st.just(1), TEXTS), st.just({})),
    st.tuples(
        st.just("ExceptionGroup"),
        st.tuples(TEXTS, st.lists(TEXTS.map(RuntimeError), min_size=1, max_size=2)),
        st.just({}),
    ),
    st.tuples(st.just("Known"), st.tuples(VALUES) | st.tuples(VALUES, TEXTS), st.just({})),
    st.tuples(st.just("Rebuilt"), st.just(()), st.fixed_dictionaries({"code": VALUES})),
)
RAISED = st.tuples(
    st.sampled_from(["def", "async def"]),
    EXCEPTIONS,
    st.dictionaries(st.sampled_from(["job_id", "detail"]), VALUES, max_size=2),
    st.lists(TEXTS, max_size=2),
    st.none() | st.sampled_from(["the cause"]),
    st.sampled_from(list(FORMS)),
)


def test_exceptions(platform: Platform) -> None:
    functions = {kind: twins(RAISING.format(kind=kind), "target") for kind in ("def", "async def")}
    endpoint = Endpoint(name="any-error", cpu="cpu3c-1-2")

    def compare(
        case: tuple[str, tuple[str, tuple[Any, ...], dict[str, Any]], dict[str, Any], list[str], Any, str],
    ) -> None:
        kind, what, attributes, notes, cause, form = case
        plain, target = functions[kind]
        attributes = {} if what[0] == "Rebuilt" else attributes  # its own way to be rebuilt knows none
        here = raised(FORMS["await f()"](plain) if kind == "async def" else plain, *what, attributes, notes, cause)
        there = raised(FORMS[form](endpoint(target)), *what, attributes, notes, cause)
        assert (type(there).__module__, type(there).__name__) == (type(here).__module__, type(here).__name__)
        assert facts(there) == facts(here)
        *kept, added = there.__notes__
        assert kept == notes
        assert added.startswith("Remote traceback:")
        assert isinstance(there.__cause__, RemoteError)
        assert ("the cause" in there.__cause__.remote_traceback) == (cause is not None)

    tried(platform, compare, RAISED)


def raised(call: Callable[..., Any], *given: Any) -> Exception:
    """The exception that a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is compared
        call(*given)
    return caught.value


def facts(error: Exception) -> dict[str, Any]:
    """All that an exception says, but its notes."""
    own = ("args", "errno", "strerror", "filename", "name", "path", "object", "reason", "message", "exceptions")
    found = {name: getattr(error, name) for name in own if hasattr(error, name)}
    found |= {name: value for name, value in vars(error).items() if name != "__notes__"}
    return {"text": str(error), **{name: shown(value) for name, value in found.items()}}


def shown(value: Any) -> Any:
    """The value, or where exceptions are in it, which are never equal, how it looks."""
    return repr(value) if "Error(" in repr(value) else value
