"""The hash of an endpoint, without `env`: the same for the body that a client sends and for what a server returns.

Two bodies with one hash need no change of the endpoint. Fields that the server adds are passed over, a missing field
counts as its default, and the order of what is a set does not matter (that of `pools` does: the best comes first).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_DEFAULTS: dict[str, Any] = {"type": "QUEUE", "image": "", "timeout": 600_000, "flashboot": "OFF"}
_OPTIONAL = ("command", "directory", "artifact", "args", "startScript", "disk", "ports", "registry")
_IDLE_TIMEOUT_S = 10
_QUEUE_DELAY_S = 4.0


def config_hash(body: Mapping[str, Any]) -> str:
    """sha256 over the canonical JSON of the fields that describe an endpoint, in the shape of `/v2/serverless`."""
    scaling = _scaling(body.get("scaling") or {})
    idles = "queueDelay" in scaling or body.get("type") == "LOAD_BALANCER"
    agreed = {
        "name": body.get("name"),
        **{key: default if body.get(key) is None else body[key] for key, default in _DEFAULTS.items()},
        "gpu": _gpu(body.get("gpu")),
        "cpu": [{"id": item.get("id"), "vcpuCount": item.get("vcpuCount")} for item in body.get("cpu") or []],
        "workers": _workers(body.get("workers") or {}, with_idle_timeout=idles),
        "scaling": scaling,
        "dataCenterIds": sorted(body.get("dataCenterIds") or []),
        "networkVolumes": sorted(body.get("networkVolumes") or [], key=str),
    }
    agreed.update({key: body[key] for key in _OPTIONAL if body.get(key) is not None})
    return hashlib.sha256(json.dumps(agreed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _gpu(gpu: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not gpu:
        return None
    order = {"preferredTypes": list(gpu["preferredTypes"])} if gpu.get("preferredTypes") else {}
    return {
        **order,
        "pools": list(gpu.get("pools") or []),
        "count": gpu.get("count", 1),
        "excludedTypes": sorted(gpu.get("excludedTypes") or []),
        "minCudaVersion": gpu.get("minCudaVersion") or "",
    }


def _workers(workers: Mapping[str, Any], *, with_idle_timeout: bool) -> dict[str, Any]:
    known = {"min": workers.get("min", 0), "max": workers.get("max", 3)}
    return {**known, "idleTimeout": workers.get("idleTimeout", _IDLE_TIMEOUT_S)} if with_idle_timeout else known


def _scaling(scaling: Mapping[str, Any]) -> dict[str, Any]:
    if scaling.get("type") == "REQUEST_COUNT":
        return {"type": "REQUEST_COUNT", "requestCount": scaling.get("requestCount", 4)}
    return {"type": "QUEUE_DELAY", "queueDelay": float(scaling.get("queueDelay", _QUEUE_DELAY_S))}
