"""Values as bytes, in one process and over several."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire import payload
from worker_runtime.wire.errors import VersionMismatch, WireError

ROOT = Path(__file__).parents[3]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_values_come_back(value: Any) -> None:
    assert payload.decode(payload.encode(value)) == value
    assert payload.decode(memoryview(payload.encode(value))) == value  # type: ignore[arg-type]


@given(st.binary(max_size=40))
def test_other_bytes_are_no_payload(data: bytes) -> None:
    if data[:2] != b"FP":
        with pytest.raises(WireError, match="no payload"):
            payload.check(data)


@pytest.mark.parametrize(("index", "word"), [(2, "protocol"), (3, "Python"), (4, "Python")])
def test_other_versions_are_refused_before_anything_is_unpickled(index: int, word: str) -> None:
    data = bytearray(payload.encode(None))
    data[index] += 1
    data[5:] = b"this would not unpickle"
    with pytest.raises(VersionMismatch, match=word):
        payload.decode(bytes(data))


def test_functions_travel_with_what_they_refer_to() -> None:
    source = (
        "import sys\n"
        "from worker_runtime.wire import payload\n"
        "FACTOR = 3\n"
        "def times(x): return x * FACTOR\n"
        "def both(x): return times(x) + (lambda: 1)()\n"
        "sys.stdout.buffer.write(payload.encode(both))\n"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    assert payload.decode(done.stdout)(2) == 7


def test_a_class_under_a_key_is_one_class_over_several_processes() -> None:
    source = (
        "import sys\n"
        "from worker_runtime.wire import payload\n"
        "class Point:\n"
        "    x = 1\n"
        "sys.stdout.buffer.write(payload.encode(Point(), lambda kind: 'key of the test ' + kind.__name__))\n"
    )
    first, second = (
        payload.decode(subprocess.run([sys.executable, "-c", source], cwd=ROOT, check=True, stdout=-1).stdout)
        for _ in range(2)
    )
    assert type(first) is type(second)
    assert first.x == 1


def test_what_cannot_be_pickled_raises() -> None:
    with pytest.raises(TypeError):
        payload.encode(sys._getframe())


def test_the_names_of_globals() -> None:
    code = compile("def f():\n    return a + (lambda: b)() + len(c)\n", "x", "exec").co_consts[0]
    assert payload.global_names(code) == ("a", "b", "c", "len")
