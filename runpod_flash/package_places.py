"""Where a requirement takes its package from: an index, a URL of another machine, or a disk."""

import re
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

_REMOTE: Final = re.compile(r"(?:git\+)?(?:https?|ssh|git)://[^/\s]\S*", re.IGNORECASE)
_ARCHIVES: Final = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
_VARIABLE: Final = "${"  # the installer would put in what its process has of that name


def names_no_file(requirement: str) -> bool:
    """Whether a requirement names a package of an index, or a URL of another machine, and nothing on a disk."""
    text = requirement.partition(" #")[0].strip()
    try:
        named = Requirement(text)
    except InvalidRequirement:
        place: str | None = text
    else:
        place = named.name if named.name.lower().endswith(_ARCHIVES) else named.url
    return place is None or (is_remote(place) and _VARIABLE not in place)


def is_remote(place: str) -> bool:
    """Whether `place` is a URL of another machine."""
    return _REMOTE.match(place.strip()) is not None
