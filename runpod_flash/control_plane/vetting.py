"""What a user other than the owner may not ask of this machine, whatever their key allows."""

import os.path
from pathlib import Path

from runpod_flash.control_plane.environments import InstallFailed
from runpod_flash.control_plane.principals import OWNER
from worker_runtime.wire.specs import EnvironmentRequest


def vet(owner: str, request: EnvironmentRequest, environments: Path, *, allow_apt: bool = False) -> None:
    """Let the owner use any interpreter of this machine, others those in the folder of environments alone.

    The control plane runs the interpreter that a request names, with all its own rights, to ask what it can import.
    System packages of others change the machine for everybody, so that its operator must have agreed (`allow_apt`).

    Raises:
        InstallFailed: another user's request names an interpreter from elsewhere, or system packages.
    """
    if owner == OWNER:
        return
    if request.system_dependencies and not allow_apt:
        raise InstallFailed(
            f"system packages of user {owner} are not installed: whoever runs this server must agree to that, with "
            "FLASH_ALLOW_APT=1; or have them installed there",
            holds_s=0,
        )
    if request.caller is None:
        return
    # The file itself is a link to the interpreter that its environment was made with.
    folder = Path(os.path.normpath(request.caller)).parent.resolve()
    if not folder.is_relative_to(environments.resolve()):
        raise InstallFailed(
            f"the interpreter {request.caller!r:.200} is not for user {owner}: this server runs only those that it has "
            "made; unset FLASH_SAME_MACHINE, so that the code gets an environment of its own",
            holds_s=0,
        )
