"""Many calls in one request, and their ends in frames on the event stream."""

from typing import Any

import httpx
import pytest

from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.views import job_object
from tests.support.plane_app import BODY, PlaneApp, served
from worker_runtime.wire import frames
from worker_runtime.wire.calls import MEDIA_TYPE, Pattern
from worker_runtime.wire.jobs import Call, JobStatus, Payload

pytestmark = pytest.mark.anyio

URL = "/flash/v1/calls"
CLIENT = {"X-Flash-Client": "c"}


def body(endpoint: str, *keys: str) -> bytes:
    pattern = Pattern(endpoint, Call("a" * 64, Payload.inlined(b"")), {})
    return b"".join(pattern.frames([(key, Payload.inlined(key.encode())) for key in keys], fresh=True, later=True))


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    return [header for header, _ in frames.Splitter().feed(response.content)]


async def test_the_answer_says_what_was_accepted_and_what_was_not(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    content = body(endpoint, "k0", "k1") + body("gone", "k2")
    said = answers(await plane.client.post(URL, content=content, headers=CLIENT))
    accepted, refused = sorted(said, key=lambda answer: str(answer["type"]))
    assert accepted == {"type": "accepted", "jobs": [["k0", "job-0"], ["k1", "job-1"]]}
    assert (refused["keys"], refused["problem"]["code"]) == (["k2"], "EndpointNotFound")
    assert plane.platform.came_with["job-0"]["client"] == "c"


async def test_a_user_has_streams_and_endpoints_of_their_own(plane: PlaneApp) -> None:
    theirs, mine = [(await plane.catalog.create("", BODY, user)).id for user in ("bob", "alice")]
    async with await plane.user("alice") as alice:
        content = body(theirs, "k0") + body(mine, "k1")
        said = answers(await alice.post(URL, content=content, headers=CLIENT))
        accepted, refused = sorted(said, key=lambda answer: str(answer["type"]))
        assert (refused["keys"], refused["problem"]["status"]) == (["k0"], 404)
        assert accepted["jobs"] == [["k1", "job-0"]]
        assert plane.platform.came_with["job-0"]["client"] == "alice/c"


@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        (b"", {}, 400, "X-Flash-Client is missing"),
        (b"", {"X-Flash-Client": "a/b"}, 400, "no '/'"),
        (b"nonsense that is long enough", CLIENT, 422, "does not speak this protocol"),
        (body("e", "k")[:-1], CLIENT, 422, "ends in the middle of a frame"),
        (b"".join(frames.encode({"type": "submit"})), CLIENT, 422, "field 'call' is missing"),
        (b"".join(frames.encode({"type": "watch", "jobs": "x"})), CLIENT, 422, "field 'jobs'"),
    ],
)
async def test_what_is_refused(plane: PlaneApp, content: bytes, headers: Any, status: int, said: str) -> None:
    response = await plane.client.post(URL, content=content, headers=headers)
    assert (response.status_code, said in response.json()["detail"]) == (status, True), response.text


async def test_no_frames_no_answers(plane: PlaneApp) -> None:
    assert answers(await plane.client.post(URL, content=b"", headers=CLIENT)) == []


async def test_the_event_stream_speaks_frames_to_who_asks_for_them(plane: PlaneApp) -> None:
    headers = {"Accept": MEDIA_TYPE}
    async with served(plane) as client, client.stream("GET", "/flash/v1/events?client=c", headers=headers) as response:
        assert response.headers["content-type"] == MEDIA_TYPE
        splitter, heard = frames.Splitter(), list[tuple[dict[str, Any], bytes]]()
        async for chunk in response.aiter_bytes():
            heard += [(header, bytes(data)) for header, data in splitter.feed(chunk)]
            if len(heard) == 1:
                assert heard[0][0] == {"type": "welcome", "protocol": 1, "client": "c"}
                value = Payload.inlined(b"\0\xff")
                record = JobRecord("j", "e", {}, 1.0, JobStatus.COMPLETED, output=value, idempotency_key="k")
                plane.hub.ended("c", record, job_object)
            elif len(heard) == 2:
                break
        header, data = heard[1]
        assert (header["jobs"][0][:3], data) == (["k", "j", 2], b"\0\xff")
