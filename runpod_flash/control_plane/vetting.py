"""What a user other than the owner may not ask of this machine, whatever their key allows."""

import os.path
from pathlib import Path

from runpod_flash.control_plane.environments import InstallFailed
from runpod_flash.control_plane.principals import OWNER
from worker_runtime.wire.specs import EnvironmentRequest


def vet(owner: str, request: EnvironmentRequest, environments: Path) -> None:
    """Let the owner use any interpreter of this machine, others those in the folder of environments alone.

    The control plane runs the interpreter that a request names, with all its own rights, to ask what it can import.

    Raises:
        InstallFailed: another user's request names an interpreter from elsewhere.
    """
    if owner == OWNER or request.caller is None:
        return
    # The file itself is a link to the interpreter that its environment was made with.
    folder = Path(os.path.normpath(request.caller)).parent.resolve()
    if not folder.is_relative_to(environments.resolve()):
        raise InstallFailed(
            f"the interpreter {request.caller!r:.200} is not for user {owner}: this server runs only those that it has "
            "made; unset FLASH_SAME_MACHINE, so that the code gets an environment of its own",
            holds_s=0,
        )
