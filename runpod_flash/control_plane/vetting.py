"""What a user other than the owner may not ask of this machine, whatever their key allows."""

import os.path
from dataclasses import replace
from pathlib import Path

from runpod_flash.control_plane.environments import InstallFailed
from runpod_flash.control_plane.principals import OWNER
from runpod_flash.package_places import is_remote, names_no_file
from worker_runtime.wire.locks import LockLine
from worker_runtime.wire.specs import EnvironmentRequest, PackageIndex


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
    for requirement in (*request.dependencies, *(line.requirement for line in map(LockLine.of, request.lock))):
        if not names_no_file(requirement):
            raise InstallFailed(
                f"{requirement!r:.200} names a file or a folder: this server does not have those of user {owner}'s "
                "machine, and its own are not for them; name a package of an index or its URL (https://…), or put the "
                "modules beside your script, so that they travel along",
                holds_s=0,
            )
    return replace(request, index=_remote(owner, request.index)) if request.packages else request


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
    if index.index_url and not index.no_index and not is_remote(index.index_url):
        raise InstallFailed(
            f"the package index {index.index_url!r:.200} is a folder of user {owner}'s machine, which this server does "
            "not have; set pip's index-url to one that both can reach",
            holds_s=0,
        )
    return replace(
        index,
        extra_index_urls=tuple(filter(is_remote, index.extra_index_urls)),
        find_links=tuple(filter(is_remote, index.find_links)),
    )
