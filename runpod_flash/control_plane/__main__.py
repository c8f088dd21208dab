"""`python -m runpod_flash.control_plane`: loads the program and runs it."""

import gc
import sys
from collections.abc import Sequence

from runpod_flash import lazy


def main(arguments: Sequence[str] = ()) -> int:
    """Run a control plane until it is asked to stop. `arguments`: see `program.main`."""
    gc.disable()  # of what is loaded now nothing is garbage: looking for some takes an eighth of the start
    program = lazy.load("runpod_flash.control_plane.program")
    status: int = program.main(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
