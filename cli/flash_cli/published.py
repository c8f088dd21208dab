"""What a control plane does, asked by the published API alone: for one that has nothing below `/flash/v1/`."""

from typing import Any

import httpx


def overview(client: httpx.Client) -> dict[str, Any]:
    """Endpoints with their jobs and workers, as `/flash/v1/status` tells them.

    Not known this way: when it was started, the endpoints' projects, why jobs wait, what is used of the disk. Raises
    httpx.HTTPError, and what an answer of another form raises.
    """
    endpoints = [_endpoint(client, each) for each in _get(client, "/v2/serverless")["endpoints"]]
    jobs = [endpoint["jobs"] for endpoint in endpoints]
    waiting = sum(counts["inQueue"] + counts["inProgress"] for counts in jobs)
    return {"started": None, "disk": {}, "jobs": waiting, "endpoints": endpoints}


def _endpoint(client: httpx.Client, endpoint: dict[str, Any]) -> dict[str, Any]:
    health = _get(client, f"/v2/{endpoint['id']}/health")
    workers = _get(client, f"/v2/serverless/{endpoint['id']}/workers")["workers"]
    urls = endpoint.get("requestUrls") or {}
    return {
        "id": endpoint["id"],
        "name": endpoint["name"],
        "type": endpoint.get("type"),
        "url": urls.get("base") or str(urls.get("run", "")).removesuffix("/run"),
        "project": "",
        "jobs": health["jobs"],
        "workers": health["workers"],
        "workerIds": [worker["id"] for worker in workers],
        "waiting": None,
    }


def _get(client: httpx.Client, path: str) -> dict[str, Any]:
    return dict(client.get(path).raise_for_status().json())
