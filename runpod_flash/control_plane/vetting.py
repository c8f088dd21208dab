"""What a user other than the owner may not ask of this machine, whatever their key allows."""

import os.path
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from runpod_flash.control_plane.environments import InstallFailed
from runpod_flash.control_plane.principals import OWNER
from worker_runtime.wire.specs import EnvironmentRequest, PackageIndex

_REMOTE: Final = re.compile(r"(?:git\+)?(?:https?|ssh|git)://[^/\s]\S*", re.IGNORECASE)
_ARCHIVES: Final = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
_VARIABLE: Final = "${"  # the installer would put in what this process has of that name


def vet(owner: str, request: EnvironmentRequest, environments: Path, *, allow_apt: bool = False) -> EnvironmentRequest:
    """The request as it may be carried out: the owner's as it is.

    Others get an environment of their own, whatever interpreter they name: to ask one what it can import, the control
    plane would run it with all its own rights, and with it what packages bring that run at every start (`.pth` files).
    One that is not in the folder of environments is refused, since they seem to expect it. Their packages come from
    indexes and URLs, not from disks: folders of packages in their settings are some of their own machine, and are left
    out. System packages change this machine for everybody, so that its operator must have agreed (`allow_apt`).

    Raises:
        InstallFailed: another user's request names an interpreter from elsewhere, system packages, or packages or an
            index by their place on a disk.
    """
    if owner == OWNER:
        return request
    if request.system_dependencies and not allow_apt:
        raise InstallFailed(
            f"system packages of user {owner} are not installed: whoever runs this server must agree to that, with "
            "FLASH_ALLOW_APT=1; or have them installed there",
            holds_s=0,
        )
    if request.caller is not None:
        _vet_caller(owner, request.caller, environments)
        request = replace(request, caller=None)
    for requirement in request.dependencies:
        if not names_no_file(requirement):
            raise InstallFailed(
                f"{requirement!r:.200} names a file or a folder: this server does not have those of user {owner}'s "
                "machine, and its own are not for them; name a package of an index or its URL (https://…), or put the "
                "modules beside your script, so that they travel along",
                holds_s=0,
            )
    return replace(request, index=_remote(owner, request.index)) if request.dependencies else request


def names_no_file(requirement: str) -> bool:
    """Whether a requirement names a package of an index, or a URL of another machine, and nothing on a disk."""
    text = requirement.partition(" #")[0].strip()
    try:
        named = Requirement(text)
    except InvalidRequirement:
        place: str | None = text
    else:
        place = named.name if named.name.lower().endswith(_ARCHIVES) else named.url
    return place is None or (_is_remote(place) and _VARIABLE not in place)


def _vet_caller(owner: str, caller: str, environments: Path) -> None:
    # The file itself is a link to the interpreter that its environment was made with.
    folder = Path(os.path.normpath(caller)).parent.resolve()
    if not folder.is_relative_to(environments.resolve()):
        raise InstallFailed(
            f"the interpreter {caller!r:.200} is not for user {owner}: this server runs only those that it has "
            "made; unset FLASH_SAME_MACHINE, so that the code gets an environment of its own",
            holds_s=0,
        )


def _remote(owner: str, index: PackageIndex) -> PackageIndex:
    """Where packages come from, without folders. The one index cannot be left out: another would take its place."""
    if index.index_url and not index.no_index and not _is_remote(index.index_url):
        raise InstallFailed(
            f"the package index {index.index_url!r:.200} is a folder of user {owner}'s machine, which this server does "
            "not have; set pip's index-url to one that both can reach",
            holds_s=0,
        )
    return replace(
        index,
        extra_index_urls=tuple(filter(_is_remote, index.extra_index_urls)),
        find_links=tuple(filter(_is_remote, index.find_links)),
    )


def _is_remote(place: str) -> bool:
    return _REMOTE.match(place.strip()) is not None
