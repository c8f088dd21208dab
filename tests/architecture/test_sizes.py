"""Files and functions stay small enough to be read at once."""

import ast
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.place import ROOT

FILE_LINES = 500
FUNCTION_LINES = 60
PACKAGES = ("runpod_flash", "worker_runtime", "cli/flash_cli")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@dataclass(frozen=True)
class Facts:
    """What is asked of a file."""

    lines: int
    says_what_for: bool
    functions: list[tuple[str, int]]  # lengths by name


@pytest.fixture(scope="module")
def facts() -> dict[str, Facts]:
    """Those of all files that are not empty, each read once."""
    gc.disable()  # a tree is large, and none of it is garbage
    try:
        return {name(path): facts_of(path.read_text()) for path in SOURCES if path.stat().st_size}
    finally:
        gc.enable()


def facts_of(text: str) -> Facts:
    tree = ast.parse(text)
    lengths = [(each.name, length(each)) for each in functions(tree)]
    return Facts(len(text.splitlines()), bool(ast.get_docstring(tree)), lengths)


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


def test_files_and_functions_are_short(facts: dict[str, Facts]) -> None:
    assert {path: each.lines for path, each in facts.items() if each.lines > FILE_LINES} == {}
    lengths = {(path, *function) for path, each in facts.items() for function in each.functions}
    assert {function for function in lengths if function[-1] > FUNCTION_LINES} == set()
    assert lengths


def test_each_module_says_what_it_is_for(facts: dict[str, Facts]) -> None:
    assert [path for path, each in facts.items() if not each.says_what_for] == []
