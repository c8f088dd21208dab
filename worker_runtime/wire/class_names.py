"""Classes by their names, for the neutral encoding: which name the other side finds a class under, and the way back.

Finding a class imports its module at most, and only one that may be imported; names are looked up as they stand in
modules and classes, so that no code of theirs runs on the way.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAIN = "__main__"

SCRIPT = "__flash_main__"
"""Under this name a script is imported on workers; its `if __name__ == "__main__":` is not run there."""

_TARGET = "__flash_target__"  # attribute of the SDK's decorated classes
_SURPRISING = frozenset({"antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo"})
_OLDER = {("re", "PatternError"): ("re", "error")}  # renamed in 3.13, where both names are known


class UnknownClass(LookupError):
    """A class that the other side names cannot be had here. The message says why and what to do."""


def any_module(module: str) -> bool:
    """Lets every module be imported: for workers, which run the caller's own code anyway."""
    return True


def standard_module(module: str) -> bool:
    """Lets those of the standard library be imported that do nothing else than define things."""
    parts = module.split(".")
    return parts[0] in sys.stdlib_module_names and parts[0] not in _SURPRISING and MAIN not in parts


@dataclass(frozen=True, slots=True)
class ClassNames:
    """One side's names.

    Attributes:
        may_import: whether a module that is not loaded may be imported because a payload names it.
        script: the name under which the other side has this side's `__main__`; None: it does not have it.
    """

    may_import: Callable[[str], bool] = standard_module
    script: str | None = None

    def name(self, kind: type) -> tuple[str, str]:
        """The module and the qualified name under which the other side finds a class.

        Raises:
            UnknownClass: it would not be found there.
        """
        module, qualified = _OLDER.get((kind.__module__, kind.__qualname__), (kind.__module__, kind.__qualname__))
        if "<locals>" in qualified:
            raise UnknownClass(f"class {qualified} is defined inside a function; define it at the top of a file")
        if _look_up(module, qualified) is not kind:
            raise UnknownClass(f"class {qualified} is not what module {module} has under this name")
        if module == MAIN:
            if self.script is None:
                raise UnknownClass(f"class {qualified} is defined in no file; define it in a module")
            return self.script, qualified
        return module, qualified

    def find(self, module: str, qualified: str) -> type:
        """The class that the other side names so. Raises UnknownClass."""
        here = MAIN if module == self.script else module
        if here not in sys.modules:
            self._import(here)
        found = _look_up(here, qualified)
        if not isinstance(found, type):
            raise UnknownClass(f"module '{here}' has no class {qualified} here")
        return found

    def _import(self, module: str) -> None:
        if module == MAIN or not self.may_import(module):
            raise UnknownClass(f"module '{module}' is not loaded here; import it before the value is read")
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise UnknownClass(f"module '{module}' cannot be imported here: {error}") from error


def _look_up(module: str, qualified: str) -> Any:
    """What stands under a name: looked up without a module's `__getattr__` or a descriptor of a class."""
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, "__dict__", {}).get(part)
        found = getattr(found, "__dict__", {}).get(_TARGET, found)
    return found
