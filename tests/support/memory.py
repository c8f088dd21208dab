"""Shared memory that tests have left: that of control planes which were killed, and which no other one followed."""

import os
from pathlib import Path

from runpod_flash.control_plane import arena_file


def forget_below(folder: Path) -> None:
    """Remove what control planes had whose state lies below a folder. None of them may run any more."""
    shared = arena_file.default_folder(os.getuid())
    for home in shared.glob("*.home"):
        if home.readlink().is_relative_to(folder):
            for path in shared.glob(f"{home.stem}-*"):
                path.unlink(missing_ok=True)
            home.unlink(missing_ok=True)
