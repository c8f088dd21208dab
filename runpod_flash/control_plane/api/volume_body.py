"""The bodies of `/v2/network-volumes`: what is allowed in them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from runpod_flash.control_plane.api.serverless_body import said
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.volumes import SIZES_GB

DATA_CENTER: Final = r"^[A-Z]{2,3}-[A-Z]{2,3}-[0-9]{1,3}$"

Name = Annotated[str, Field(min_length=1, max_length=191)]
Size = Annotated[int, Field(ge=SIZES_GB[0], le=SIZES_GB[1])]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @field_validator("name", check_fields=False)
    @classmethod
    def _can_be_shown(cls, name: str | None) -> str | None:
        if name is not None and not (name.strip() and name.isprintable()):
            raise ValueError("it must be text without control characters, and not blank")
        return name


T = TypeVar("T", bound=_Part)


class NewNetworkVolume(_Part):
    """A volume as it is asked for; `size` in GB. `type` is taken and means nothing here: there is one disk."""

    name: Name
    size: Size
    dataCenter: Annotated[str, Field(pattern=DATA_CENTER)]
    type: Literal["STANDARD", "HIGH_PERFORMANCE"] = "STANDARD"


class NetworkVolumeChange(_Part):
    """What is to change of a volume; `size` in GB, which only grows."""

    name: Name | None = None
    size: Size | None = None


def created(body: Mapping[str, Any]) -> NewNetworkVolume:
    """The body of a new volume, checked. Raises Problem: 422 with every fault."""
    return _checked(NewNetworkVolume, body)


def changed(body: Mapping[str, Any]) -> NetworkVolumeChange:
    """The body of a change, checked. Raises Problem: 422 with every fault."""
    return _checked(NetworkVolumeChange, body)


def _checked(model: type[T], body: Mapping[str, Any]) -> T:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        faults = [said(fault) for fault in error.errors(include_url=False)]
        raise Problem(422, "; ".join(faults), code="ConfigError", errors=faults) from None
