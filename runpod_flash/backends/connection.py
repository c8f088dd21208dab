"""One connection to a platform: an HTTP client and, where the platform has `/flash/v1/`, an event stream opened first.

    ready ──starts──▶ _live: locate ▶ capabilities ▶ GET events ▶ up ▶ read … ▶ lost: `on_lost`
                                          └─ 404: no stream ▶ up ▶ … ▶ a request finds nobody there ▶ lost
      ▲                                                                             │
      └────────── whoever still wants something makes a request, which starts the next

A lost connection is made again by the next request, for `RECONNECT_S` seconds; where nobody wants anything, nothing is
started. Here, and nowhere else, exceptions of httpx become ours.
"""

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from runpod_flash.backends import speaking
from runpod_flash.backends.base import Json
from runpod_flash.backends.clients import Address, Lanes, holding, new_client, requests_at_once
from runpod_flash.backends.conversation import Conversation
from runpod_flash.backends.events import Lines
from runpod_flash.backends.held import Answer, Held, Locate, Purpose
from runpod_flash.backends.patience import Busy, Patience, is_busy, retry_after
from runpod_flash.backends.posts import Posts
from runpod_flash.backends.problems import Refusal
from runpod_flash.backends.transfers import STREAM_SILENCE_S, Transfers
from runpod_flash.errors import BackendError, BackendUnavailable, ConfigError, FlashError, WireMismatch
from runpod_flash.release import VERSION
from worker_runtime.wire import PROTOCOL, calls
from worker_runtime.wire.frames import Header

T = TypeVar("T")

Converse = Callable[[Callable[[], Awaitable[None]]], Conversation]
"""Makes a conversation; it gets what makes the way to the platform where there is none."""

RECONNECT_S = 30.0
"""How long a platform that was there may be away before calls fail."""

_TRANSFERS_AT_ONCE = 2
_HELD_AT_ONCE = 400  # of each purpose; each has a descriptor of this process
_LAST_WORDS_S = 2.0
_TURNS = 10  # of the event loop, for what was cancelled to come to its own `except`


class Connection(Transfers):
    """Makes requests, hands events to `on_event`. Belongs to the event loop it is used on, and ends with it.

    Attributes:
        client_id: what the platform calls this client's event stream.
        number: how many times a connection came up; another number means that events may have been missed.
        streams: whether the platform has an event stream and the rest of `/flash/v1/`.
        takes_pickles: whether the platform lets this user's pickles be loaded.
    """

    def __init__(
        self,
        locate: Locate,
        on_event: Callable[[Mapping[str, Any]], None],
        on_lost: Callable[[], None],
        *,
        patience_s: float = 0.0,
        on_wait: Callable[[str], None] = lambda message: None,
        converse: Converse | None = None,
    ) -> None:
        """`patience_s`: how long the very first connection is tried. `on_wait` is told why a request has to wait.

        `converse` makes the conversation in frames, where the platform has such; None: there is to be none.
        """
        self.client_id = uuid.uuid4().hex
        self.number = 0
        self.streams = self.takes_pickles = True
        self._takes_calls = self._said_farewell = self._speaks = False
        self._locate, self._on_event, self._on_lost, self._patience_s = locate, on_event, on_lost, patience_s
        self._on_wait, self._converse = on_wait, converse
        self._conversation: Conversation | None = None
        self._held: AsyncGenerator[None, None] | None = None  # the client, where no stream holds it
        self._client: httpx.AsyncClient | None = None
        self._address: Address | None = None
        self._lanes: Lanes | None = None
        self._held_requests = {purpose: asyncio.Semaphore(_HELD_AT_ONCE) for purpose in Purpose}
        self._up: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._sending, self._sent = 0, asyncio.Event()  # requests under way; one has ended
        self._requests = asyncio.Semaphore(1)  # until it is known how far the platform is
        self._transfers = asyncio.Semaphore(_TRANSFERS_AT_ONCE)

    @property
    def platform(self) -> str:
        """What messages call the platform."""
        return self._address.platform if self._address is not None else "the platform"

    @property
    def conversation(self) -> Conversation | None:
        """The calls in frames, from the first connection on; None where the platform takes requests alone."""
        return self._conversation if self._speaks else None

    @property
    def url(self) -> str:
        """The platform's base URL; "" before the first connection."""
        return self._address.url if self._address is not None else ""

    @property
    def is_up(self) -> bool:
        """Whether the stream is open now (where there is none: whether the platform has answered)."""
        return self._up is not None and self._up.done()

    async def ready(self) -> None:
        """Wait until there is a connection; make one where there is none.

        Raises:
            BackendUnavailable, AuthError, WireMismatch, ConfigError: there cannot be one; the message says why.
        """
        while self._up is None:  # there was none, or the last one is just ending
            if self._closed:
                raise BackendUnavailable("this connection was closed with its event loop; call on the running one")
            if self._task is not None and not self._task.done():
                await asyncio.wait([self._task])
            else:
                self._up = asyncio.get_running_loop().create_future()
                self._task = asyncio.create_task(self._live(self._up), name="flash-connection")
        await asyncio.shield(self._up)

    async def address(self) -> Address:
        """Where the platform is now, for those who speak HTTP to it themselves. Raises as `ready` does."""
        await self.ready()
        assert self._address is not None
        return self._address

    async def send(
        self,
        method: str,
        path: str,
        *,
        json: Json | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        missing: type[FlashError] = BackendError,
        repeat: bool = True,
    ) -> bytes:
        """Make a request; returns the body of a good answer.

        `missing` is the error that a 404 means. On a broken connection the request is made again, when `repeat` says
        that a second one does no harm or the first was never sent.

        Raises:
            BackendUnavailable: no answer. What a bad answer means is in `Refusal.error`.
        """

        async def once(client: httpx.AsyncClient) -> bytes:
            response = await client.request(method, path, json=json, headers=headers, params=params)
            if response.is_success:
                return response.content
            raise self._refused(response, missing)

        await self.ready()  # which says how many requests are good at a time
        return await self._repeat(once, self._requests, repeat=repeat)

    async def hold(self, asked: Held) -> Answer:
        """Make a request that may be held long; hundreds may be under way. Raises as `send` does."""

        async def once(_: httpx.AsyncClient) -> Answer:
            assert self._lanes is not None
            found = await self._lanes.ask(asked.method, asked.url, asked.headers, asked.content, asked.silence_s)
            if found.status // 100 == 2 or asked.passes(found.status, found.headers):
                return Answer(found.status, found.headers, found.content)
            request = f"{asked.method} {urlsplit(asked.url).path}"
            raise self._refused_so(found.status, found.headers, found.content, request, asked.missing)

        return await self._repeat(once, self._held_requests[asked.purpose], repeat=asked.repeat)

    def refusal(self, status: int, body: bytes, request: str, missing: type[FlashError] = BackendError) -> FlashError:
        """The error that a refusal of the platform means: its HTTP status and its problem document."""
        hint = self._address.key_hint if self._address is not None else ""
        return Refusal(status, body, request, self.platform, hint, missing).error()

    async def close(self) -> None:
        """End the connection for good. May be called twice."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._let_go()

    async def _repeat(
        self, once: Callable[[httpx.AsyncClient], Awaitable[T]], gate: asyncio.Semaphore, *, repeat: bool = True
    ) -> T:
        end, pause, patience = time.monotonic() + RECONNECT_S, 0.02, Patience()
        while True:
            await self.ready()
            self._sending += 1
            try:
                async with gate:
                    if self._client is None:  # lost while this waited for its turn
                        continue
                    client = self._client
                    return await once(client)
            except Busy as busy:
                await self._wait(patience, busy)
                end = time.monotonic() + RECONNECT_S
                continue
            except httpx.TransportError as error:
                never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                silent = isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout)
                if silent or not (repeat or never_sent) or time.monotonic() > end:
                    raise self._unavailable(error) from error
                if client is self._client:
                    await self._let_go()
            except httpx.HTTPError as error:
                raise BackendError(f"{self.platform} sent an answer that cannot be read: {error}") from error
            finally:
                self._sending -= 1
                self._sent.set()
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _live(self, up: asyncio.Future[None]) -> None:
        """From the first attempt to the loss. Closes the client, also when the event loop ends."""
        try:
            await self._attempts(up)
        except FlashError as error:
            _fail(up, error)
        except asyncio.CancelledError:
            await self._last_words()
            self._closed = True
            _fail(up, BackendUnavailable("the connection was closed"))
            raise
        except Exception as error:  # noqa: BLE001 a border: whoever waits must hear of it
            _fail(up, BackendError(f"the connection to {self.platform} failed: {error!r}"), error)
        finally:
            if self._held is None:
                self._up = None
                client, self._client = self._client, None
                self._on_lost()
                if self._conversation is not None:
                    (self._conversation.close if self._closed else self._conversation.down)()
                for each in (client, self._lanes):
                    if each is not None:
                        await each.aclose()

    async def _last_words(self) -> None:
        """The event loop ends: those whose calls are cancelled with it tell the platform so."""
        if not self.is_up or self._said_farewell:
            return
        self._said_farewell = True
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(_LAST_WORDS_S):
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                while self._sending:
                    self._sent.clear()
                    await self._sent.wait()
                if self._conversation is not None:
                    await self._conversation.quiet()

    async def _let_go(self) -> None:
        """The connection is lost, and there is no stream whose end tells it; the next request makes a new one."""
        held, self._held = self._held, None
        if held is not None:
            self._up = self._client = None
            self._on_lost()
            await held.aclose()

    async def _attempts(self, up: asyncio.Future[None]) -> None:
        end = time.monotonic() + (RECONNECT_S if self.number else self._patience_s)
        pause, patience = 0.05, Patience()
        while True:
            try:
                return await self._serve(up)
            except Busy as busy:
                await self._wait(patience, busy)
                continue
            except httpx.InvalidURL as error:
                raise ConfigError(f"{self.platform} is no URL ({error}); it must be like http://host:port") from error
            except (httpx.HTTPError, OSError) as error:
                if up.done():
                    return None
                if time.monotonic() + pause > end:
                    raise self._unavailable(error) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _serve(self, up: asyncio.Future[None]) -> None:
        """Connect, say that it is up, read events until the stream ends."""
        self._address = address = await self._locate()
        self._speaks = False
        if self._client is not None:  # of the attempt before
            await self._client.aclose()
        socket = address.calls if self._converse is not None else None
        kept = 0 if socket else None  # none is left where a loop ends without a word
        self._client, self._lanes = client, lanes = new_client(address, kept), Lanes(address)
        self._requests = asyncio.Semaphore(requests_at_once(address))
        if socket:
            await self._serve_channel(address, socket, up)
            return
        self.streams = await self._has_our_interface(client)
        if self.streams:
            await self._serve_stream(client, up)
            return
        if address.socket:
            await client.aclose()
            self._client = client = new_client(address, kept=0)  # as above
        self._held = holding(client, lanes)
        await anext(self._held)
        self._came_up(up)

    async def _serve_stream(self, client: httpx.AsyncClient, up: asyncio.Future[None]) -> None:
        """Read events, in frames where the platform takes calls so, until the stream ends."""

        def welcomed(header: Header) -> None:
            if header.get("protocol") != PROTOCOL:
                raise self._mismatch(header.get("protocol"), "")
            self._came_up(up)

        feed = self._reader_of_lines(up)
        headers = {}
        posts: Posts | None = None
        if self._takes_calls and self._converse is not None:
            posts = Posts(self._post, conversation := self._conversing())
            feed = speaking.reader(conversation, posts, welcomed)
            headers = {"Accept": calls.MEDIA_TYPE}
        timeout = httpx.Timeout(connect=10.0, read=STREAM_SILENCE_S, write=60.0, pool=None)
        params = {"client": self.client_id}
        asked = client.stream("GET", "/flash/v1/events", params=params, headers=headers, timeout=timeout)
        try:
            async with asked as response:
                if not response.is_success:
                    await response.aread()
                    raise self._refused(response, BackendError)
                async for chunk in response.aiter_bytes():
                    feed(chunk)
        except asyncio.CancelledError:
            await self._last_words()
            raise
        finally:
            if posts is not None:
                posts.close()
        if not up.done():
            raise BackendUnavailable(f"{self.platform} closed the event stream before it said anything; try again")

    async def _serve_channel(self, address: Address, path: str, up: asyncio.Future[None]) -> None:
        """Speak frames on a socket until that ends."""

        def welcomed(header: Header) -> None:
            self._check_capabilities(header)
            self.streams = True
            self._came_up(up)

        conversation, key = self._conversing(), address.key or ""
        reason = await speaking.on_socket(
            path, key, self.client_id, conversation, welcomed, self.refusal, self._last_words
        )
        if isinstance(reason, FlashError):
            raise reason

    def _conversing(self) -> Conversation:
        if self._conversation is None:
            assert self._converse is not None
            self._conversation = self._converse(self.ready)
        self._speaks = True
        return self._conversation

    def _reader_of_lines(self, up: asyncio.Future[None]) -> Callable[[bytes], None]:
        lines = Lines()

        def feed(chunk: bytes) -> None:
            for event in lines.feed(chunk):
                self._take(event, up)

        return feed

    async def _post(self, body: Callable[[int], bytes]) -> bytes:
        """Post frames; gives those of the answer. `body` makes them for each attempt. Raises as `send` does."""
        attempts = itertools.count()
        headers = {"X-Flash-Client": self.client_id, "Content-Type": calls.MEDIA_TYPE}

        async def once(client: httpx.AsyncClient) -> bytes:
            response = await client.post("/flash/v1/calls", content=body(next(attempts)), headers=headers)
            if response.is_success:
                return response.content
            raise self._refused(response, BackendError)

        await self.ready()
        return await self._repeat(once, self._requests)

    async def _has_our_interface(self, client: httpx.AsyncClient) -> bool:
        response = await client.get("/flash/v1/capabilities")
        if response.status_code == 404:
            return False
        if not response.is_success:
            raise self._refused(response, BackendError)
        try:
            found = response.json()
            self._check_capabilities(found)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackendError(f"{self.platform} is no platform of this framework; is the URL right?") from error
        self._takes_calls = found.get("calls") is True
        return True

    def _check_capabilities(self, found: Mapping[str, Any]) -> None:
        """Take what the platform says of itself. Raises WireMismatch; KeyError: it says nothing that is ours."""
        protocol, version = found["protocol"], found.get("version")
        if protocol != PROTOCOL:
            raise self._mismatch(protocol, f" (runpod-flash {version})")
        self.takes_pickles = found.get("pickles") is not False

    def _take(self, event: Mapping[str, Any], up: asyncio.Future[None]) -> None:
        if event.get("event") == "hello":
            if event.get("protocol") != PROTOCOL:
                raise self._mismatch(event.get("protocol"), "")
            self._came_up(up)
        else:
            self._on_event(event)

    def _came_up(self, up: asyncio.Future[None]) -> None:
        if not up.done():
            self.number += 1
            up.set_result(None)

    def _mismatch(self, protocol: object, version: str) -> WireMismatch:
        ours_is_older = isinstance(protocol, int) and protocol > PROTOCOL
        old = "runpod-flash in this program" if ours_is_older else "runpod-flash on the platform"
        return WireMismatch(
            f"{self.platform} speaks protocol {protocol}{version}, this program protocol {PROTOCOL} "
            f"(runpod-flash {VERSION}); upgrade {old}"
        )

    async def _wait(self, patience: Patience, busy: Busy) -> None:
        """Wait as long as a busy platform asks; raises its refusal where that is too long."""
        pause = patience.pause(busy)
        self._on_wait(str(busy))
        await asyncio.sleep(pause)

    def _refused(self, response: httpx.Response, missing: type[FlashError]) -> FlashError | Busy:
        request = f"{response.request.method} {response.request.url.path}"
        return self._refused_so(response.status_code, response.headers, response.content, request, missing)

    def _refused_so(
        self, status: int, headers: Mapping[str, str], body: bytes, request: str, missing: type[FlashError]
    ) -> FlashError | Busy:
        """`headers`: with names in lower case."""
        error = self.refusal(status, body, request, missing)
        after_s = retry_after(headers.get("retry-after"), time.time())
        return Busy(status, after_s, self.platform, error) if is_busy(status, after_s) else error

    def _unavailable(self, error: Exception) -> BackendUnavailable:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return BackendUnavailable(
                f"{self.platform} cannot be trusted: {error}; where its certificate is right, set SSL_CERT_FILE to a "
                "file with the certificate of the authority that signed it"
            )
        slow = isinstance(error, httpx.TimeoutException)
        why = "it does not answer in time" if slow else (str(error) or type(error).__name__)
        return BackendUnavailable(f"{self.platform} cannot be reached: {why}; is it running, is the address right?")


def _fail(up: asyncio.Future[None], error: FlashError, cause: Exception | None = None) -> None:
    if cause is not None:
        error.__cause__ = cause
    if not up.done():
        up.set_exception(error)
        up.exception()  # marks it as seen, also where nobody waits
