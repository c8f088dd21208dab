"""The running script as a module: under which name workers import it, and what of it they find there."""

import ast
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from worker_runtime.wire.class_names import MAIN, SCRIPT

MAINS = frozenset({MAIN, "__mp_main__"})
"""Names under which the running script is loaded: never importable elsewhere."""


def file_of() -> str | None:
    """The file of the running script. None: there is none (REPL, notebook, `python -c`, an archive)."""
    file = getattr(sys.modules.get(MAIN), "__file__", None)
    return os.path.abspath(file) if isinstance(file, str) and os.path.isfile(file) else None


def name() -> str | None:
    """The module that the script is on workers: its own name under `python -m`, else one for all scripts.

    None: it has no file that could be imported.
    """
    if file_of() is None:
        return None
    spec = getattr(sys.modules[MAIN], "__spec__", None)
    return spec.name if spec is not None else SCRIPT


def module_in(folder: Path) -> str | None:
    """The module that the script is where `folder` is on `sys.path`. None: it is none there."""
    file = file_of()
    if file is None:
        return None
    try:
        parts = Path(os.path.realpath(file)).relative_to(os.path.realpath(folder)).with_suffix("").parts
    except ValueError:
        return None
    return ".".join(parts) if all(map(str.isidentifier, parts)) else None


def defines(target: FunctionType | type) -> bool:
    """Whether the script's file is where a function or class of `__main__` was written.

    Not, for example, what was typed into `python -i script.py`. Classes do not tell; they are taken at their module's
    word.
    """
    file = file_of()
    if file is None or not isinstance(target, FunctionType):
        return file is not None
    return os.path.realpath(target.__code__.co_filename) == os.path.realpath(file)


def outside_of_guard(qualified: str) -> bool:
    """Whether the script's source has something of this name outside of its `if __name__ == "__main__":`.

    True where the source cannot be read: importing it will tell.
    """
    try:
        tree = ast.parse(Path(file_of() or "").read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True
    return qualified.partition(".")[0] in set(_names(tree.body))


def _names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """What code gives a name to when it is imported: the guard's body, and the insides of functions, left out."""
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.If(test=test, orelse=rest) if _is_guard(test):
                yield from _names(rest)
            case ast.Lambda():
                continue
            case _:
                yield from _names(ast.iter_child_nodes(node))


def _is_guard(test: ast.expr) -> bool:
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
        case ast.Compare(left=ast.Constant(value="__main__"), ops=[ast.Eq()], comparators=[ast.Name(id="__name__")]):
            return True
    return False


def find(module: str, qualified: str) -> Any:
    """What a loaded module has under a qualified name; None where it has nothing there."""
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found
