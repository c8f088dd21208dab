"""`NetworkVolume`: a folder that outlives workers and that workers of several endpoints share, at /runpod-volume."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Never, NoReturn, TypeAlias, cast

from runpod_flash import lazy
from runpod_flash.errors import ConfigError, UnknownOption
from runpod_flash.hardware import DataCenter
from runpod_flash.wording import nearest, refusal

if TYPE_CHECKING:
    from os import PathLike

    from runpod_flash.duals import Dual

SIZES_GB = (10, 4096)
"""The smallest and the largest size."""

_NAME_LIMIT = 191
_FIELDS = ("name", "id", "size", "datacenter", "dataCenterId")


@dataclass(frozen=True, slots=True)
class VolumeEntry:
    """A file or folder in a network volume. `kind`: file, folder, link or other; `size` in bytes.

    `path` begins at the volume; `modified` is in seconds since the epoch.
    """

    path: str
    kind: str
    size: int
    modified: float


VolumeEntries: TypeAlias = list[VolumeEntry]


class NetworkVolume:
    """Storage that stays: workers of the endpoints that name it see it at /runpod-volume.

        models = NetworkVolume("models", size=50)

        @Endpoint(volume=models)
        def names():
            return os.listdir("/runpod-volume")

    It is found by name and data center, or made where there is none, at the first call of such an endpoint, the first
    `put`, or by `provision`. One that is there keeps its size. Nothing is sent before.

    `provision`, `put`, `get`, `list` and `delete` block; where an event loop runs in this thread, they give a coroutine
    to be awaited. `volume.put.blocking(…)` and `volume.put.aio(…)` are unambiguous.

    Args:
        name: what it is called, unique in the project and data center.
        id: that of a volume that is there.
        size: in GB, 10 to 4096; for one that is to be made.
        datacenter: where it is: a DataCenter or the name of one. Default: EU-RO-1; with `id`, where that one is.
        dataCenterId: the same, as Runpod's API calls it.

    Attributes:
        given_id: the `id` that was given, else None.

    Raises:
        ConfigError, UnknownOption: an option is wrong.
    """

    name: str | None
    size: int
    datacenter: DataCenter | None
    given_id: str | None

    def __init__(
        self,
        name: str | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the public API's own word
        size: int = 100,
        datacenter: DataCenter | str | None = None,
        dataCenterId: DataCenter | str | None = None,
        **unknown: Never,
    ) -> None:
        for field in unknown:
            near = nearest(field, _FIELDS)
            raise UnknownOption(
                f"NetworkVolume has no option {field}=; "
                + (f"did you mean {near}=?" if near else f"there are {', '.join(_FIELDS)}")
            )
        if name is None and id is None:
            raise ConfigError("NetworkVolume needs name=, to be found or made by, or id= of one that is there")
        named = [_center(option, each) for option, each in (("datacenter", datacenter), ("dataCenterId", dataCenterId))]
        centers = set(named) - {None}
        if len(centers) > 1:
            raise ConfigError(f"datacenter= is {named[0]} and dataCenterId= is {named[1]}; give one of them")
        self.__dict__.update(
            name=_text("name", name),
            size=_size(size),
            datacenter=centers.pop() if centers else (DataCenter.EU_RO_1 if id is None else None),
            given_id=_text("id", id),
        )

    @property
    def dataCenterId(self) -> DataCenter | None:
        """The same as `datacenter`."""
        return self.datacenter

    @property
    def id(self) -> str | None:
        """Its id on the platform; None before this program has found or made it."""
        return self.given_id or cast("str | None", _session().volume_ids.get(self))

    @property
    def is_created(self) -> bool:
        """Whether this program knows it to be there."""
        return self.id is not None

    @property
    def provision(self) -> "Dual[[], NetworkVolume]":
        """`provision()` finds the volume or makes it; afterwards `id` is set. Raises VolumeNotFound, BackendError."""
        return cast("Dual[[], NetworkVolume]", _calls(self).provision)

    @property
    def deploy(self) -> "Dual[[], NetworkVolume]":
        """The same as `provision`."""
        return self.provision

    @property
    def put(self) -> "Dual[[str | PathLike[str], str], None]":
        """`put(local, remote)` copies a file, or what is in a folder, into the volume, which is made if need be.

        A `remote` that ends in "/" is a folder, in which the file keeps its name. Files that were there are replaced,
        each in one step: nobody sees half a file.

        Raises:
            ConfigError: there is no such file here, or `remote` cannot be, or leads out of the volume.
            PayloadTooLarge: the volume has no room for it.
            BackendError: see `errors`.
        """
        return cast("Dual[[str | PathLike[str], str], None]", _calls(self).put)

    @property
    def get(self) -> "Dual[[str, str | PathLike[str]], None]":
        """`get(remote, local)` copies a file, or what is in a folder, out of the volume.

        A `local` that ends in "/", or is a folder, is where the file keeps its name. Links are followed to files of the
        volume; others are left out, and that is said.

        Raises:
            VolumeNotFound, VolumeFileNotFound: there is none.
            ConfigError: a path cannot be.
            BackendError: see `errors`.
        """
        return cast("Dual[[str, str | PathLike[str]], None]", _calls(self).get)

    @property
    def list(self) -> "Dual[..., VolumeEntries]":
        """`list(path="/")` gives what is in a folder of the volume, as `VolumeEntry`. Raises as `get` does."""
        return cast("Dual[..., VolumeEntries]", _calls(self).list)

    @property
    def delete(self) -> "Dual[[str], None]":
        """`delete(path)` deletes a file, or a folder with all that is in it, from the volume. Raises as `get` does."""
        return cast("Dual[[str], None]", _calls(self).delete)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} of a volume cannot be changed after its declaration; declare another one")

    def __eq__(self, other: object) -> bool:
        """Whether it is the same volume, whatever its size."""
        return self._identity == other._identity if isinstance(other, NetworkVolume) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str | None, ...]:
        return self.given_id, *((self.name, self.datacenter) if self.given_id is None else ())

    def __repr__(self) -> str:
        shown = f"id={self.given_id!r}" if self.given_id is not None else repr(self.name)
        return f"NetworkVolume({shown}{f', datacenter={self.datacenter.value!r}' if self.datacenter else ''})"


def _text(option: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > _NAME_LIMIT or not value.isprintable():
        raise refusal(option, value, f"text of 1 to {_NAME_LIMIT} characters, not blank and without control characters")
    return value


def _size(value: Any) -> int:
    low, high = SIZES_GB
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise refusal("size", value, f"a whole number from {low} to {high} (GB)")
    return value


def _center(option: str, value: Any) -> DataCenter | None:
    if value is None or isinstance(value, DataCenter):
        return value
    names = [center.value for center in DataCenter]
    try:
        return DataCenter.from_string(value)
    except (ValueError, AttributeError):
        near = nearest(value, names) if isinstance(value, str) else None
        raise refusal(
            option, value, f"a DataCenter or one of {', '.join(names)}", repr(near) if near else None
        ) from None


def _session() -> Any:
    return lazy.load("runpod_flash.session").current()


def _calls(volume: NetworkVolume) -> Any:
    return lazy.load("runpod_flash.volume_calls").VolumeCalls(volume, _session())
