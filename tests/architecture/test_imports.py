"""Importing our packages has no effects: no files, no logging set-up, no threads, no variables."""

import sys
from pathlib import Path

from tests.support.place import Place

IMPORT_ALL = """
import importlib, json, logging, os, pkgutil, sys, threading, warnings

def state():
    root = logging.getLogger()
    return {
        "handlers": [repr(handler) for handler in root.handlers],
        "filters": len(root.filters),
        "level": root.level,
        "threads": threading.active_count(),
        "environment": sorted(os.environ.items()),
        "hook": repr(sys.excepthook),
        "warnings": repr(warnings.filters),
    }

before, imported = state(), []
for name in ("runpod_flash", "worker_runtime", "flash_cli"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            imported.append(module.name)
print(json.dumps(imported))
assert state() == before, (before, state())
"""


def test_importing_everything_in_an_empty_folder_leaves_it_empty_and_logging_untouched(tmp_path: Path) -> None:
    place = Place.below(tmp_path)

    finished = place.run(["-B", "-W", "error", "-c", IMPORT_ALL]).good()

    assert "runpod_flash.errors" in finished.stdout
    assert finished.stderr == ""
    assert list(place.project.iterdir()) == []
    assert list(place.home.iterdir()) == []


def test_importing_does_not_read_a_dotenv_file(tmp_path: Path) -> None:
    place = Place.below(tmp_path)
    place.write(".env", "FLASH_TARGET=nonsense\nRUNPOD_API_KEY=secret\nOTHER=1\n")

    place.run(["-B", "-c", IMPORT_ALL]).good()

    asked = "from runpod_flash import Endpoint; import os; print(sorted(set(os.environ) & {'OTHER', 'RUNPOD_API_KEY'}))"
    assert place.run(["-B", "-c", asked]).good().stdout == "[]\n"


def test_the_three_packages_leave_user_modules_of_common_names_alone(tmp_path: Path) -> None:
    """A user's own `cli.py` is imported, not a part of this repository (editable installs put its root on the path)."""
    place = Place.below(tmp_path)
    place.write("cli.py", "MINE = True")

    finished = place.run_script("import flash_cli, cli; print(cli.MINE)")

    assert finished.good().stdout == "True\n"
    assert sys.version_info >= (3, 11)
