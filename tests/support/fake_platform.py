"""A small scripted platform over real HTTP, for tests of the client: it runs no code, tests say how jobs end."""

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.prompt_server import PromptServer
from tests.support.waiting import wait_until

KEY = "fake-key"
FORGET = "forget"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]


class FakePlatform:
    """State and knobs of the platform. `serving` can end and begin again on it, as a process on its store."""

    def __init__(self) -> None:
        self.protocol = 1
        self.modern = True  # has /flash/v1/
        self.ends_at_once = True  # jobs complete when they arrive
        self.announces = True
        self.fits = 1000  # as many final jobs go into one answer of `watch`
        self.refuse: Callable[[Request], Response | None] = lambda request: None
        self.jobs: dict[str, dict[str, Any]] = {}
        self.inputs: dict[str, dict[str, Any]] = {}  # of all jobs
        self.by_key: dict[str, str] = {}
        self.clients: dict[str, str] = {}  # job -> client
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.listed_apps: list[dict[str, Any]] | None = None  # what `apps` answers to the question for all
        self.requests: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.streams: dict[str, asyncio.Queue[dict[str, Any] | None]] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self.chunks: dict[str, list[list[Any]]] = {}  # of a job, in place of `items`: what each question gives
        self.bodies: list[dict[str, Any]] = []  # of run and runsync
        self.queries: list[str] = []  # of runsync
        self.together = 1  # so many requests to an endpoint, or runsync, are answered at once, and none before
        self.answer: Callable[[Request, bytes], Response] = lambda request, body: JSONResponse({"ok": True})
        self.apps: Callable[[Request], Response] = lambda request: problem(404, "no app", "AppNotFound")
        self._waiting: list[asyncio.Future[None]] = []
        self.after_run: Callable[[str], None] = lambda job: None
        self.items: list[Any] = []  # of the stream of every job, numbered from 1
        self.arrived = 0  # of them, as the client says
        self.breaks_off: Callable[[], bool] = lambda: False  # in the middle of an answer with items

    def emit(self, event: dict[str, Any]) -> None:
        """Send an event to every stream, from any thread."""
        assert self.loop is not None
        for queue in list(self.streams.values()):
            self.loop.call_soon_threadsafe(queue.put_nowait, event)

    def break_streams(self) -> None:
        """End every event stream."""
        assert self.loop is not None
        for queue in list(self.streams.values()):
            self.loop.call_soon_threadsafe(queue.put_nowait, None)

    def finish(self, job_id: str, output: Any = "value", status: str = "COMPLETED") -> None:
        """A job ends; its client is told."""
        self.jobs[job_id] = {"id": job_id, "status": status, "output": output}
        if self.announces:
            self.emit({"event": "job", "job": self.jobs[job_id]})

    def app(self) -> Starlette:
        routes = [
            Route("/flash/v1/capabilities", self._guarded(self._capabilities)),
            Route("/flash/v1/events", self._guarded(self._events)),
            Route("/flash/v1/jobs/watch", self._guarded(self._watch), methods=["POST"]),
            Route("/flash/v1/jobs/find", self._guarded(self._find), methods=["POST"]),
            Route("/flash/v1/jobs/{job}", self._guarded(self._facts)),
            Route("/flash/v1/jobs/{job}/logs", self._guarded(self._logs)),
            Route("/flash/v1/jobs/{job}/stream", self._guarded(self._stream), methods=["POST"]),
            Route("/v2/{endpoint}/stream/{job}", self._guarded(self._published_stream)),
            Route("/flash/v1/instances/{id}", self._guarded(self._drop), methods=["DELETE"]),
            Route("/flash/v1/apps{rest:path}", self._guarded(self._apps), methods=METHODS),
            Route("/flash/v1/{kind}/{id}", self._guarded(self._content), methods=["HEAD", "GET", "PUT"]),
            Route("/v2/serverless", self._guarded(self._endpoints), methods=["GET", "POST"]),
            Route("/v2/serverless/{id}", self._guarded(self._endpoint), methods=["GET", "PATCH"]),
            Route("/v2/{endpoint}/run", self._guarded(self._run), methods=["POST"]),
            Route("/v2/{endpoint}/runsync", self._guarded(self._runsync), methods=["POST"]),
            Route("/v2/{endpoint}/retry/{job}", self._guarded(self._retry), methods=["POST"]),
            Route("/v2/{endpoint}/health", self._guarded(self._health)),
            Route("/v2/{endpoint}/purge-queue", self._guarded(self._purge), methods=["POST"]),
            Route("/lb/{endpoint}/{path:path}", self._guarded(self._balanced), methods=METHODS),
            Route("/v2/{endpoint}/status/{job}", self._guarded(self._status)),
            Route("/v2/{endpoint}/cancel/{job}", self._guarded(self._cancel), methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def _guarded(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            self.requests[f"{request.method} {request.url.path.split('/')[-1]}"] += 1
            self.headers.append(dict(request.headers))
            self.paths.append(request.url.path)
            if request.headers.get("authorization") != f"Bearer {KEY}":
                return problem(401, "the key is wrong", "AuthError")
            if not self.modern and request.url.path.startswith("/flash/"):
                return problem(404, "no such route")
            return self.refuse(request) or await answer(request)

        return handle

    async def _capabilities(self, request: Request) -> Response:
        return JSONResponse({"protocol": self.protocol, "version": "9.9.9", "content": "c", "pid": 1, "gpus": []})

    async def _apps(self, request: Request) -> Response:
        self.bodies.append(json.loads(await request.body() or b"{}"))
        if self.listed_apps is not None:
            return JSONResponse({"apps": self.listed_apps})
        return self.apps(request)

    async def _events(self, request: Request) -> Response:
        client = request.query_params["client"]
        queue = self.streams[client] = asyncio.Queue()

        async def lines() -> AsyncIterator[bytes]:
            event: dict[str, Any] | None = {"event": "hello", "client": client, "protocol": self.protocol}
            try:
                while event is not None:
                    yield json.dumps(event, ensure_ascii=False).encode() + b"\n"
                    event = await queue.get()
            finally:
                if self.streams.get(client) is queue:
                    del self.streams[client]

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def _run(self, request: Request) -> Response:
        body, key = await request.json(), request.headers["idempotency-key"]
        self.bodies.append(body)
        job_id = self.by_key.setdefault(key, f"job-{len(self.by_key)}")
        if job_id not in self.jobs:
            self.jobs[job_id] = {"id": job_id, "status": "IN_QUEUE", "input": body["input"]}
            self.inputs[job_id] = body["input"]
            self.clients[job_id] = request.headers.get("x-flash-client", "")
            if self.ends_at_once:
                self.finish(job_id, output=body["input"])
        self.after_run(job_id)
        return JSONResponse({"id": job_id, "status": "IN_QUEUE"})

    async def _runsync(self, request: Request) -> Response:
        self.queries.append(request.url.query)
        job_id = json.loads((await self._run(request)).body)["id"]
        await self._gather()
        return JSONResponse(self.jobs[job_id])

    async def _retry(self, request: Request) -> Response:
        job_id = request.path_params["job"]
        if self.jobs[job_id]["status"] not in ("FAILED", "TIMED_OUT"):
            return problem(400, "only a job that failed or timed out is retried")
        self.jobs[job_id] = {"id": job_id, "status": "IN_QUEUE"}
        return JSONResponse(self.jobs[job_id])

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"jobs": {"inQueue": 1}, "workers": {"idle": 2}})

    async def _purge(self, request: Request) -> Response:
        return JSONResponse({"removed": 3, "status": "completed"})

    async def _balanced(self, request: Request) -> Response:
        body = await request.body()
        await self._gather()
        return self.answer(request, body)

    async def _gather(self) -> None:
        """Wait until so many as `together` are here."""
        self._waiting.append(asyncio.get_running_loop().create_future())
        if len(self._waiting) >= self.together:
            for waiting in self._waiting:
                waiting.set_result(None)
            self._waiting = []
        else:
            await self._waiting[-1]

    async def _status(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["job"])
        return JSONResponse(job) if job else problem(404, "no such job", "JobNotFound")

    async def _cancel(self, request: Request) -> Response:
        if request.path_params["job"] not in self.jobs:
            return problem(404, "no such job")
        self.finish(request.path_params["job"], None, "CANCELLED")
        return JSONResponse({"id": request.path_params["job"], "status": "CANCELLED"})

    async def _watch(self, request: Request) -> Response:
        body = await request.json()
        known = [self.jobs[job] for job in body["jobs"] if job in self.jobs]
        final = [job for job in known if job["status"] not in ("IN_QUEUE", "IN_PROGRESS")]
        waiting = [job["id"] for job in known if job not in final]
        self.clients |= dict.fromkeys(waiting, body["client"])
        unknown = [job for job in body["jobs"] if job not in self.jobs]
        rest = [job["id"] for job in final[self.fits :]]
        return JSONResponse({"jobs": final[: self.fits], "waiting": waiting, "unknown": unknown, "rest": rest})

    async def _find(self, request: Request) -> Response:
        found = {key: self.by_key[key] for key in (await request.json())["keys"] if key in self.by_key}
        jobs = {key: {"id": job, "endpoint": "ep", "status": self.jobs[job]["status"]} for key, job in found.items()}
        return JSONResponse({"jobs": jobs})

    async def _facts(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["job"])
        endpoint = {"id": "ep", "name": "infer", "project": ""}
        facts = {"job": job, "endpoint": endpoint, "attempts": 1, "cause": None}
        return JSONResponse(facts) if job else problem(404, "no such job", "JobNotFound")

    async def _logs(self, request: Request) -> Response:
        return JSONResponse({"lines": [{"stream": "stdout", "line": "one"}, {"stream": "stderr", "line": "two"}]})

    async def _stream(self, request: Request) -> Response:
        job_id, after = request.path_params["job"], (await request.json())["after"]
        if job_id not in self.jobs:
            return problem(404, "no such job", "JobNotFound")
        items = [item for answer in self.chunks.get(job_id, [self.items]) for item in answer]
        assert self.arrived <= after <= len(items) or job_id in self.chunks
        self.arrived = after
        found = [[number, item] for number, item in enumerate(items, 1) if number > after][: self.fits]
        ended = self.jobs[job_id]["status"] != "IN_QUEUE" and len(found) + after == len(items)
        return self._in_pieces({"items": found, "ended": ended})

    async def _published_stream(self, request: Request) -> Response:
        job_id = request.path_params["job"]
        if job_id not in self.jobs:
            return problem(404, "no such job", "JobNotFound")
        answers = self.chunks.get(job_id)
        if answers is None:
            found, self.items = self.items[: self.fits], self.items[self.fits :]
        else:
            found = answers.pop(0) if answers else []
        status = "IN_PROGRESS" if answers or self.items else self.jobs[job_id]["status"]
        return self._in_pieces({"stream": [{"output": item} for item in found], "status": status})

    def _in_pieces(self, answer: dict[str, Any]) -> Response:
        text, breaks_off = json.dumps(answer).encode(), self.breaks_off()

        async def pieces() -> AsyncIterator[bytes]:
            yield text[: len(text) // 2]
            if breaks_off:
                raise ConnectionError("the test breaks the connection")
            yield text[len(text) // 2 :]

        return StreamingResponse(pieces(), media_type="application/json")

    async def _drop(self, request: Request) -> Response:
        return Response(status_code=204) if request.path_params["id"] == "known" else problem(404, "unknown")

    async def _content(self, request: Request) -> Response:
        name = request.path_params["id"]
        if request.method == "PUT":
            self.contents[name] = await request.body()
            return Response(status_code=201)
        if name not in self.contents:
            return problem(404, "not here")
        return Response(self.contents[name], media_type="application/octet-stream")

    async def _endpoints(self, request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"endpoints": list(self.endpoints.values())})
        endpoint = {"id": f"ep{len(self.endpoints)}", **await request.json()}
        self.endpoints[endpoint["id"]] = endpoint
        return JSONResponse(endpoint, 201)

    async def _endpoint(self, request: Request) -> Response:
        endpoint = self.endpoints.get(request.path_params["id"])
        if endpoint is None:
            return problem(404, "no such endpoint")
        if request.method == "GET":
            return JSONResponse(endpoint)
        endpoint.update(await request.json())
        return JSONResponse(endpoint)


def problem(status: int, detail: str, code: str | None = None, **more: Any) -> Response:
    """A problem document."""
    body = {"status": status, "title": "Problem", "detail": detail, **({"code": code} if code else {}), **more}
    return Response(json.dumps(body), status, media_type="application/problem+json")


@contextlib.contextmanager
def serving(
    platform: FakePlatform, socket: Path | None = None, port: int = 0, *, certificate: Path | None = None
) -> Iterator[str]:
    """Serve the platform in a thread, on a unix socket or a loopback port, while inside; gives its base URL.

    `certificate`: a file with a certificate and its key, for TLS.
    """
    config = uvicorn.Config(
        platform.app(),
        uds=str(socket) if socket else None,
        port=port,
        log_level="critical",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
    )
    server = PromptServer(config)

    async def run() -> None:
        platform.loop = asyncio.get_running_loop()
        await server.serve()

    thread = threading.Thread(target=asyncio.run, args=[run()], daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive(), 10, "the fake platform listens")
    try:
        scheme = "https" if certificate else "http"
        yield "http://fake" if socket else f"{scheme}://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        platform.break_streams()
        if server.started and platform.loop is not None:
            platform.loop.call_soon_threadsafe(server.end)
        thread.join(10)
