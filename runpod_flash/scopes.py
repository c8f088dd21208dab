"""Where names of endpoints are unique that belong to an app: in one of its stages. Both sides agree on it here."""

import re
from typing import Final, NamedTuple

from runpod_flash.wording import refusal

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PREFIX: Final = "app:"
_ALLOWED: Final = "1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter or digit"
_LONGEST: Final = 63


class StageName(NamedTuple):
    """A stage of an app, by the names of both."""

    app: str
    stage: str

    @property
    def scope(self) -> str:
        """The scope of its endpoints' names, which stands in the place of a project."""
        return f"{_PREFIX}{self.app}/{self.stage}"


def stage_of(scope: str) -> StageName | None:
    """The stage whose endpoints have this scope; None where it is a project's."""
    if not scope.startswith(_PREFIX):
        return None
    app, slash, stage = scope.removeprefix(_PREFIX).partition("/")
    good = slash and _NAME.fullmatch(app) and _NAME.fullmatch(stage)
    return StageName(app, stage) if good else None


def is_managed(scope: str) -> bool:
    """Whether endpoints of this scope are made and removed with their app, and in no other way."""
    return scope.startswith(_PREFIX)


def check_name(option: str, given: str) -> str:
    """The name of an app or a stage, as it is. Raises ConfigError where it can be none: `option` is what to call it."""
    if _NAME.fullmatch(given) is None:
        raise refusal(option, given, _ALLOWED, near=repr(name) if (name := usable_name(given)) else None)
    return given


def usable_name(text: str) -> str:
    """The name that is most like a text, such as that of a folder; "" where none is like it."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")
    return re.sub(r"^[^A-Za-z0-9]+", "", plain)[:_LONGEST]
