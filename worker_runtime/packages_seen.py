"""Which installed packages a child has imported: what the next worker of its function will import, too."""

import os
import sys
from collections.abc import Collection

FOLDERS = ("site-packages", "dist-packages", "overlay")
"""The names of folders that packages are installed into."""

_MOST = 200


def names(before: Collection[str]) -> list[str]:
    """The modules at the top of installed packages that have been imported, in that order; not those of `before`.

    Code that is edited in place (an editable install, the user's files) is not among them: it is to be imported anew.
    """
    folders = tuple(os.path.join(path, "") for path in sys.path if os.path.basename(path) in FOLDERS)
    found = [name for name in list(sys.modules) if "." not in name and name not in before and _in(folders, name)]
    return found[:_MOST]


def _in(folders: tuple[str, ...], name: str) -> bool:
    origin = getattr(getattr(sys.modules.get(name), "__spec__", None), "origin", None)
    return isinstance(origin, str) and origin.startswith(folders)
