"""What there is on a platform over HTTP; where it has the published API alone, as much as that tells."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from runpod_flash.backends.base import Json
from runpod_flash.backends.connection import Connection
from runpod_flash.errors import BackendError, EndpointNotFound, FlashError, JobNotFound

_PAGE = 1000


class HttpLook:
    """See `Look`. `json` makes a request as `Connection.send` and gives the object that is answered."""

    def __init__(self, connection: Connection, json: Callable[..., Awaitable[Json]]) -> None:
        self._connection, self._json = connection, json

    async def overview(self) -> Json:
        await self._connection.ready()
        if self._connection.streams:
            return await self._json("GET", "/flash/v1/status")
        listed = (await self._json("GET", "/v2/serverless")).get("endpoints")
        if not isinstance(listed, list):
            raise BackendError(f"{self._connection.platform} lists no endpoints; is the URL right?")
        endpoints = await asyncio.gather(*(self._published(each) for each in listed))
        jobs = sum(each["jobs"].get(name, 0) for each in endpoints for name in ("inQueue", "inProgress"))
        return {"started": None, "user": "", "jobs": jobs, "endpoints": endpoints}

    async def _published(self, endpoint: Json) -> dict[str, Any]:
        """What the published API tells of an endpoint, in the words of ours."""
        path = quote(str(endpoint["id"]), safe="")
        health = await self._json("GET", f"/v2/{path}/health", missing=EndpointNotFound)
        workers = (await self._json("GET", f"/v2/serverless/{path}/workers", missing=EndpointNotFound))["workers"]
        urls = endpoint.get("requestUrls") or {}
        return {
            "id": endpoint["id"],
            "name": endpoint.get("name"),
            "type": endpoint.get("type"),
            "url": urls.get("base") or str(urls.get("run", "")).removesuffix("/run"),
            "project": "",
            "owner": "",
            "jobs": health["jobs"],
            "workers": health["workers"],
            "workerIds": [worker["id"] for worker in workers],
            "waiting": None,
        }

    async def jobs(
        self, endpoints: Any = (), *, statuses: Any = (), since: float = 0.0, limit: int = 100
    ) -> list[Json]:
        await self._need("lists the jobs of an endpoint by GET /v2/{endpoint}/requests alone")
        found, more = list[Json](), None
        only = [*(("endpoint", each) for each in endpoints), *(("status", each) for each in statuses)]
        if since:
            only.append(("since", repr(since)))
        while len(found) < limit:
            page = [*only, ("limit", str(min(_PAGE, limit - len(found)))), *([("after", str(more))] if more else [])]
            answer = await self._json("GET", f"/flash/v1/jobs?{urlencode(page)}", missing=EndpointNotFound)
            found += answer["jobs"]
            more = answer.get("more")
            if not more:
                break
        return found

    async def lines_of_endpoint(self, endpoint_id: str, take: Callable[[Json], None], **chosen: Any) -> None:
        await self._need("tells nobody what workers write")
        await self._lines(f"/flash/v1/endpoints/{quote(endpoint_id, safe='')}/logs", take, EndpointNotFound, **chosen)

    async def lines_of_job(self, job_id: str, take: Callable[[Json], None], **chosen: Any) -> None:
        await self._need("tells nobody what workers write")
        path = f"/flash/v1/jobs/{quote(job_id, safe='')}/logs"
        if chosen.get("follow"):
            await self._lines(path, take, JobNotFound, **chosen)
            return
        listed = await self._json("GET", path, params=_params(**chosen), missing=JobNotFound)
        for line in listed.get("lines", []):
            take({"job": job_id, **line})

    async def _lines(self, path: str, take: Callable[[Json], None], missing: type[FlashError], **chosen: Any) -> None:
        last = 0.0  # the time of the last line, after which a broken connection goes on

        def heard(line: Json) -> None:
            nonlocal last
            last = max(last, float(line.get("time") or 0.0))
            take(line)

        def params() -> Mapping[str, str]:
            return _params(**{**chosen, "since": last, "tail": None} if last else chosen)

        await self._connection.read_lines(path, params, heard, missing)

    async def _need(self, instead: str) -> None:
        """Raise BackendError where the platform has the published API alone, which does this `instead`."""
        await self._connection.ready()
        if not self._connection.streams:
            raise BackendError(f"{self._connection.platform} has the published API alone, which {instead}")


def _params(*, since: float = 0.0, tail: int | None = None, follow: bool = False) -> dict[str, str]:
    params = {"since": repr(since)} if since else {}
    if tail is not None:
        params["tail"] = str(tail)
    return {**params, "follow": "true"} if follow else params
