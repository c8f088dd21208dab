"""How code and values go to an endpoint's workers: as pickles, or as files and in the neutral encoding.

Pickles are safe between equal Python versions only, and a platform may refuse them.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FunctionType

from runpod_flash import script
from runpod_flash.errors import NotPortable
from worker_runtime.wire.errors import CannotTravel

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""The version of Python that this program runs on."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One way to an endpoint's workers.

    Attributes:
        python: the version of Python that they have.
        reason: why no pickles are sent; "": they are.
        script: the module that this program's script is there; None: the one as which it travels.
    """

    python: str = HERE
    reason: str = ""
    script: str | None = None

    @property
    def neutral(self) -> bool:
        """Whether code travels as files and values in the neutral encoding."""
        return bool(self.reason)


PICKLED = Crossing()
"""The way to workers of the same Python that take pickles."""


def crossing(python: str, *, chosen: bool = False, takes_pickles: bool = True) -> Crossing:
    """The way to workers with this version of Python.

    Args:
        python: "major.minor".
        chosen: whether the user wants no pickles.
        takes_pickles: whether the platform takes pickles from this user.
    """
    if python != HERE:
        return Crossing(
            python, f"pickles do not travel between Python {HERE} (this program) and {python} (the endpoint)"
        )
    versions = f"this program and the endpoint run on Python {HERE}"
    if not takes_pickles:
        return Crossing(python, f"the platform takes no pickles from you ({versions})")
    return Crossing(python, f"FLASH_ENCODING=neutral allows no pickles ({versions})") if chosen else PICKLED


def entry(target: FunctionType | type, way: Crossing, *, is_local: bool) -> str:
    """The import path, on workers, of a function or class that travels as a file.

    Args:
        target: the original function or class.
        way: why it must.
        is_local: whether its module, when it is not the script, is one of the user's own.

    Raises:
        NotPortable: no file that can travel has it at its top level under its own name.
    """
    module, qualified = target.__module__, target.__qualname__
    found = script.find(module, qualified)
    is_there = found is target or getattr(found, "__flash_target__", None) is target
    if module in script.MAINS:
        there = is_there and script.defines(target) and script.outside_of_guard(qualified)
        name = script.name() if there else None
    else:
        name = module if is_there and is_local else None
    if name is not None:
        return f"{name}:{qualified}"
    raise NotPortable(
        f"{qualified}() cannot go to the workers of this endpoint: {way.reason}, and {why_no_file(target)}. Move it "
        f"to the top of a .py file and call it from there, or {_without(way)}"
    )


def not_portable(what: str, error: CannotTravel, way: Crossing, advice: str) -> NotPortable:
    """The error for a value with a part that has no neutral encoding; `what`: what the value is called."""
    return NotPortable(f"{what}{error.path} {error.what}, which only a pickle could carry, and {way.reason}; {advice}")


def argument(steps: Sequence[str], labels: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """What to call the argument at the beginning of a way into (args, kwargs), and the rest of the way.

    Args:
        steps: `("[0]", "[2]", ".foo")`: the third positional argument; `("[1]", "['x']")`: the one named x.
        labels: the names of the positional arguments, as far as they are known.
    """
    if len(steps) < 2:
        return "the arguments", tuple(steps)
    inner = steps[1].removeprefix("[").removesuffix("]")
    if steps[0] == "[1]":
        return f"argument {inner.strip(chr(39))}", tuple(steps[2:])
    index = int(inner)
    return f"argument {labels[index] if index < len(labels) else index + 1}", tuple(steps[2:])


def why_no_file(target: FunctionType | type) -> str:
    """Why no file that can travel has a function or class under its own name."""
    qualified = target.__qualname__
    if "<lambda>" in qualified:
        return "a lambda has no name in a file"
    if "<locals>" in qualified:
        return "it is defined inside another function"
    if target.__module__ in script.MAINS:
        file = script.file_of()
        if file is None:
            return "it is defined in no file (a notebook, a prompt)"
        return f'{file} does not define it outside of `if __name__ == "__main__":`, which workers do not run'
    return f"no file of yours has it as {target.__module__}.{qualified}"


def _without(way: Crossing) -> str:
    if way.python != HERE:
        return f"leave python_version= out, or run this program with Python {way.python}"
    return "use a platform that takes your pickles"
