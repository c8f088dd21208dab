"""What a user gives to `run` and `runsync`, checked: the input of a job and what comes with it. Light to import."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from runpod_flash import lazy
from runpod_flash.calls import JobOptions
from runpod_flash.errors import CallError

SIBLINGS: Final = ("input", "webhook", "policy", "s3Config")
"""The fields of a body that is not wrapped once more."""

PRIORITIES: Final = ("normal", "low")

_WEEK_S: Final = 7 * 24 * 3600
_LEAST_S: Final = {"execution_timeout": 5.0, "ttl": 10.0}  # as the published API has them
_POLICY: Final = {
    "executionTimeout": "timeout_ms",
    "queueTimeout": "queue_timeout_ms",
    "ttl": "ttl_ms",
    "lowPriority": "low_priority",
}
_SHOWN = 80  # characters of a given value that a message shows


@dataclass(frozen=True, slots=True)
class PlainJob:
    """A job whose input is plain JSON."""

    input: Mapping[str, Any]
    options: JobOptions


def plain_job(
    given: Any,
    *,
    webhook: str | None = None,
    execution_timeout: float | None = None,
    ttl: float | None = None,
    priority: str = "normal",
) -> PlainJob:
    """The job that a user means. A body that has "input" and nothing but its known siblings is taken as a whole.

    Args:
        given: the input, or such a body.
        webhook: the URL that is told the end.
        execution_timeout: how long an attempt may run, in seconds (5 to a week).
        ttl: how long the job may live, in seconds (10 to a week).
        priority: "low" waits for workers that others have brought, instead of starting some.

    Raises:
        CallError: something is of a wrong type or out of bounds, or was said twice.
    """
    is_body = isinstance(given, Mapping) and "input" in given and set(given) <= set(SIBLINGS)
    body: Mapping[str, Any] = given if is_body else {"input": given}
    job_input = body["input"]
    if not isinstance(job_input, Mapping) or not job_input:
        near = "" if isinstance(job_input, Mapping) else f"; did you mean {{'value': {_shown(job_input)}}}?"
        _refuse("the input of a job", job_input, "a dict with at least one entry", near)
    asked = {
        "timeout_ms": _milliseconds("execution_timeout", execution_timeout),
        "ttl_ms": _milliseconds("ttl", ttl),
        "low_priority": _is_low(priority) or None,
        "webhook": _webhook("webhook=", webhook),
    }
    brought = _brought(body)
    for name, value in asked.items():
        if value is not None and brought.get(name) is not None:
            raise CallError(f"the body says its {name} itself, and a keyword says another one; leave one out")
    chosen = {**brought, **{name: value for name, value in asked.items() if value is not None}}
    return PlainJob(job_input, JobOptions(**{name: value for name, value in chosen.items() if value is not None}))


def _brought(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a body has beside its input, as fields of `JobOptions`."""
    policy = body.get("policy")
    if policy is not None and not isinstance(policy, Mapping):
        _refuse("'policy' of the body", policy, f"a dict with some of {', '.join(_POLICY)}")
    for name in policy or {}:
        if name not in _POLICY:
            close: list[str] = lazy.load("difflib").get_close_matches(str(name), _POLICY, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            _refuse("'policy' of the body has a field that", name, f"one of {', '.join(_POLICY)}", hint)
    config = body.get("s3Config")
    if config is not None and not isinstance(config, Mapping):
        raise CallError("'s3Config' of the body must be a dict of texts")  # not shown: it holds secrets
    return {
        **{_POLICY[name]: value for name, value in (policy or {}).items()},
        "webhook": _webhook("'webhook' of the body", body.get("webhook")),
        "s3_config": config,
    }


def _milliseconds(option: str, value: Any) -> int | None:
    if value is None:
        return None
    least = _LEAST_S[option]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= _WEEK_S:
        _refuse(f"{option}=", value, f"a number of seconds from {least:g} to {_WEEK_S} (a week)")
    return round(value * 1000)


def _is_low(priority: Any) -> bool:
    if priority not in PRIORITIES:
        _refuse("priority=", priority, " or ".join(map(repr, PRIORITIES)))
    return bool(priority == "low")


def _webhook(what: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.startswith(("http://", "https://"))):
        _refuse(what, value, "a URL that begins with http:// or https://")
    return value


def _refuse(what: str, given: Any, allowed: str, near: str = "") -> NoReturn:
    raise CallError(f"{what} is {_shown(given)}; it must be {allowed}{near}; nothing was sent")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
