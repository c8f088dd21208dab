"""All that is described, in the order in which the page shows it."""

from typing import Final

from runpod_flash.control_plane.api.openapi import (
    apps,
    balanced,
    flash,
    itself,
    jobs,
    keys,
    logins,
    look,
    network_volumes,
    serverless,
    workers,
)
from runpod_flash.control_plane.api.openapi.model import Face

FACES: Final[tuple[Face, ...]] = (
    jobs.FACE,
    serverless.FACE,
    network_volumes.FACE,
    balanced.FACE,
    workers.FACE,
    flash.FACE,
    apps.FACE,
    look.FACE,
    keys.FACE,
    logins.FACE,
    itself.FACE,
)
