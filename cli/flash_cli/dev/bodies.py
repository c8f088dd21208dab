"""What short addresses add to a job's body: the method that they name, and an input where none is needed. Pure."""

import json
from typing import Any, Final

from flash_cli.dev.table import Place

_NOTHING: Final[dict[str, Any]] = {"__empty": True}  # an empty object gets lost on the way on some platforms
_METHOD: Final = "method"
_SDK: Final = "flash"


def completed(body: bytes, place: Place) -> bytes:
    """The body for the target. What is no job of plain JSON stays as it is: the target says what is wrong with it."""
    if not body.strip():
        job: Any = {"input": dict(_NOTHING)}
    else:
        try:
            job = json.loads(body)
        except ValueError:
            return body
    if not isinstance(job, dict):
        return body
    given = job.get("input", {})
    if not isinstance(given, dict) or _SDK in given:
        return body
    if place.call:
        given = {**{name: value for name, value in given.items() if name not in _NOTHING}, _METHOD: place.call}
    elif not given and ("input" in job or place.takes_nothing):
        given = dict(_NOTHING)
    elif "input" not in job:
        return body
    return json.dumps({**job, "input": given}).encode()
