"""What code objects say about themselves."""

from typing import Any

import pytest

from runpod_flash.bytecode import absolute, code_hash, digest, from_literal, imports, names, scalar


def code_of(source: str, name: str = "f") -> Any:
    space: dict[str, Any] = {}
    exec(compile(source, "<script>", "exec"), space)
    return space[name].__code__


WITH_IMPORTS = """
def f(x):
    import a.b
    import c as d
    from e import f, g as h
    importlib.import_module("dynamic.one")
    import_module(x)
    __import__("two")
    print("no module")
    def nested():
        import three
"""


def test_imports_of_statements_and_of_literals_nested_code_included() -> None:
    found = {name for name, level in imports(code_of(WITH_IMPORTS))}
    assert found == {"a.b", "c", "e", "e.f", "e.g", "dynamic.one", "two", "three"}


def test_relative_imports_start_from_the_package() -> None:
    code = code_of("def f():\n from . import i\n from ..j.k import l\n from .... import too_high\n")
    assert set(absolute(imports(code), "p.q")) == {"p.q", "p.q.i", "p.j.k", "p.j.k.l"}
    assert list(absolute(imports(code), None)) == []


def test_literal_of_import_module() -> None:
    assert from_literal("a.b") == ("a.b", 0)
    assert from_literal("..a") == ("a", 2)


def test_names_are_those_of_nested_code_too() -> None:
    assert {"os", "path", "sep"} <= names(code_of("def f():\n return lambda: os.path.sep\n"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("def f(x): return x + 1", "\n\n# comment\ndef f(x):\n    return x + 1  # more", True),
        ("def f(x): return x + 1", "def f(x): return x + 2", False),
        ("def f(x): return x + 1", "def f(x): return x + 1.0", False),
        ("def f(x): return x.a", "def f(x): return x.b", False),
        ("def f(x): return x", "def f(y): return y", False),
        ("def f(x): return x", "def f(*x): return x", False),
        ("def f(x): return lambda: 1", "def f(x): return lambda: 2", False),
        ("def f(x): return x in {'a', 'b'}", "def f(x): return x in {'b', 'a'}", True),
        ("def f(x): return x in {'a', 'b'}", "def f(x): return x in {'a', 'c'}", False),
        ("def f():\n class A: x = 3", "\ndef f():\n # here\n class A: x = 3", True),
        ("def f():\n class A: x = 3", "def f():\n class A: x = 4", False),
        ("def f(): return -0.0", "def f(): return 0.0", False),
        ("def f(): return (1, True)", "def f(): return (1, 1)", False),
        ("def f(): return 'doc'", "def f():\n 'doc'\n return 'doc'", False),
    ],
)
def test_code_hash(one: str, other: str, same: bool) -> None:
    assert (code_hash(code_of(one)) == code_hash(code_of(other))) is same


def test_scalars_differ_by_value_and_type() -> None:
    values = [
        None,
        False,
        True,
        0,
        1,
        -1,
        255,
        -256,
        0.0,
        -0.0,
        1.0,
        float("inf"),
        float("nan"),
        1j,
        -1j,
        "",
        "1",
        b"",
        b"1",
    ]
    values += [10**5000, "\ud800", "None"]
    assert len({scalar(value) for value in values}) == len(values)
    assert scalar(float("nan")) == scalar(-float("nan"))


def test_digest_knows_where_parts_end() -> None:
    assert digest([b"ab", b"c"]) != digest([b"a", b"bc"])
