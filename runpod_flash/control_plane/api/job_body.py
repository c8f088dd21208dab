"""What `/run` and `/runsync` take: the published body, checked. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import Policy

WEEK_MS: Final = 7 * 24 * 3600 * 1000
TIMEOUT_LEAST_MS: Final = 5_000
TTL_LEAST_MS: Final = 10_000
S3_FIELDS: Final = ("accessId", "accessSecret", "bucketName", "endpointUrl", "objectPath")

_POLICY_FIELDS: Final = ("executionTimeout", "lowPriority", "queueTimeout", "ttl")


def input_of(body: Mapping[str, Any], *, may_be_empty: bool = False) -> dict[str, Any]:
    """The job's input. Raises Problem (400). `may_be_empty`: it can be a call without arguments."""
    if "input" not in body:
        raise Problem(400, "field 'input' is missing; it must be an object with at least one key")
    job_input = body["input"]
    if not isinstance(job_input, dict) or not (job_input or may_be_empty):
        raise Problem(400, f"field 'input' is {job_input!r:.80}; it must be an object with at least one key")
    return job_input


def policy_of(body: Mapping[str, Any], *, sync: bool, own: bool) -> Policy:
    """What the body asks for its job beside the input. Raises Problem (400).

    `own`: our SDK has sent it, whose time limits may be shorter than the published ones. `policy.queueTimeout`, how
    long a job may wait for a worker each time, is an extension.
    """
    if len(body) == 1 and "input" in body:
        return _USUAL_SYNC if sync else _USUAL
    policy = body.get("policy")
    if policy is None:
        policy = {}
    if not isinstance(policy, dict):
        raise Problem(400, f"field 'policy' is {policy!r:.80}; it must be an object")
    return Policy(
        timeout_ms=_limit(policy, "executionTimeout", 1 if own else TIMEOUT_LEAST_MS),
        queue_timeout_ms=_limit(policy, "queueTimeout", 1),
        ttl_ms=_limit(policy, "ttl", TTL_LEAST_MS),
        sync=sync,
        low_priority=_flag(policy, "lowPriority"),
        webhook=_text(body, "webhook"),
        s3_config=_s3_config(body.get("s3Config")),
    )


_USUAL: Final = Policy()
_USUAL_SYNC: Final = Policy(sync=True)


def _limit(policy: Mapping[str, Any], name: str, least: int) -> int | None:
    value = policy.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= WEEK_MS:
        raise Problem(400, f"field 'policy.{name}' is {value!r:.80}; it must be {least} to {WEEK_MS} ms")
    return value


def _flag(policy: Mapping[str, Any], name: str) -> bool:
    value = policy.get(name)
    if value is not None and not isinstance(value, bool):
        raise Problem(400, f"field 'policy.{name}' is {value!r:.80}; it must be true or false")
    return bool(value)


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise Problem(400, f"field '{name}' is {value!r:.80}; it must be a text")
    return value


def _s3_config(config: Any) -> Mapping[str, str] | None:
    """The storage that the worker may use. Its values are secrets, so they are in no message."""
    if config is None:
        return None
    if not isinstance(config, dict) or not all(isinstance(value, str) for value in config.values()):
        raise Problem(400, f"field 's3Config' must be an object of texts: {', '.join(S3_FIELDS)}")
    return config
