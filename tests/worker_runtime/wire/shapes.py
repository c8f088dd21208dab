"""Classes whose objects the tests of the neutral encoding send."""

import dataclasses
import enum
from typing import Any, Generic, NamedTuple, TypeVar

import pydantic
import pydantic.dataclasses


@dataclasses.dataclass
class Point:
    x: int
    label: Any = None
    made: bool = dataclasses.field(default=False, init=False)

    def __post_init__(self) -> None:
        self.made = True


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: Any

    class Inner(enum.Enum):
        ONE = 1


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"
    CRIMSON = 1


class Rank(enum.IntEnum):
    LOW = 1


class Mode(enum.Flag):
    R = 1
    W = 2


class Pair(NamedTuple):
    a: int
    b: Any = "b"


class Oops(Exception):
    """Takes other arguments than it keeps, which no pickle of it survives."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    n: int
    other: Any = None
    _secret: Any = pydantic.PrivateAttr(None)

    @pydantic.field_validator("n")
    @classmethod
    def grown(cls, value: int) -> int:
        return value + 1


T = TypeVar("T")


class Box(pydantic.BaseModel, Generic[T]):
    inside: T


class Root(pydantic.RootModel[list[int]]):
    pass


@pydantic.dataclasses.dataclass(frozen=True)
class Checked:
    n: int


class Plain:
    """A class of no kind."""

    ran = False

    def __init__(self) -> None:
        Plain.ran = True

    def __reduce__(self) -> Any:
        Plain.ran = True
        return (Plain, ())
