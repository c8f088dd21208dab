"""Functions whose annotations are text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from nowhere import Nowhere


class Box(BaseModel):
    """What comes as JSON."""

    width: int


def takes_box(box: Box, image: bytes) -> int:
    """Both."""
    return box.width + len(image)


def lost(x: Nowhere) -> None:
    """Its annotation names nothing at run time."""
