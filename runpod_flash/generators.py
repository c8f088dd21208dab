"""What a generator may be asked for, and what any other function: items the one, a value the other."""

import inspect
from typing import Any

from runpod_flash.calls import Request
from runpod_flash.errors import CallError


def is_generator(function: Any) -> bool:
    """Whether calling it gives a generator, whose items travel one by one."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def for_value(request: Request) -> Request:
    """The request of a call that gives one value. Raises CallError where it is a generator's."""
    if request.stream:
        raise CallError(
            f"{request.shown} is a generator, which has items and no value; use {request.shown}.stream(…) for its "
            "items as they come, or .spawn(…) for a job to read later; nothing was sent"
        )
    return request


def for_items(request: Request) -> Request:
    """The request of a call that gives items. Raises CallError where it is no generator's."""
    if not request.stream:
        raise CallError(
            f"{request.shown} is no generator, so that there is nothing to stream; call it, or let it yield; "
            "nothing was sent"
        )
    return request
