"""Files and functions stay small enough to be read at once."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from tests.support.place import ROOT

FILE_LINES = 500
FUNCTION_LINES = 60
PACKAGES = ("runpod_flash", "worker_runtime", "cli/flash_cli")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Those in a module or a statement. Expressions, most of a tree, have none but lambdas."""
    for below in ast.iter_child_nodes(node):
        if isinstance(below, ast.FunctionDef | ast.AsyncFunctionDef):
            yield below
        if not isinstance(below, ast.expr):
            yield from functions(below)


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_files_and_functions_are_short() -> None:
    lines = {name(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: number for path, number in lines.items() if number > FILE_LINES} == {}
    lengths = {(name(path), each.name): length(each) for path in SOURCES for each in functions(tree(path))}
    assert {function: number for function, number in lengths.items() if number > FUNCTION_LINES} == {}


def test_each_module_says_what_it_is_for() -> None:
    written = [path for path in SOURCES if path.stat().st_size]
    assert [name(path) for path in written if not ast.get_docstring(tree(path))] == []
