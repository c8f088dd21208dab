"""What calls carry themselves, where the client has nothing but the published API: put where uploads are."""

from collections.abc import AsyncIterable, Awaitable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from worker_runtime.wire.jobs import INLINE_LIMIT, Call, Payload


class Uploads(Protocol):
    """Where artifacts and values are stored."""

    def has_artifact(self, artifact_id: str) -> bool: ...

    def put_artifact(self, artifact_id: str, stream: AsyncIterable[bytes]) -> Awaitable[int]: ...

    def has(self, sha256: str) -> bool: ...

    def put_bytes(self, sha256: str, data: bytes) -> Awaitable[None]: ...


def carries(call: Call) -> bool:
    """Whether something of a call is to be stored first."""
    if call.artifact_data is not None:
        return True
    return any(payload.inline is not None and payload.size > INLINE_LIMIT for payload in call.payloads)


class Carried:
    """Unloads calls: afterwards a call is as if all that it needs had been uploaded before."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def unload(self, call_input: Mapping[str, Any] | Call) -> Call:
        """The call of an input, without what it carried, which is stored.

        Raises:
            WireError, VersionMismatch: it is no call of this protocol, or the artifact is not the one that it names.
            PayloadTooLarge, StoreFull, StoreError: the artifact or a value cannot be stored.
        """
        sent = call_input if isinstance(call_input, Call) else Call.from_input(call_input)
        if sent.artifact_data is not None and not self._uploads.has_artifact(sent.artifact):
            await self._uploads.put_artifact(sent.artifact, _one(sent.artifact_data))
        instance = sent.instance
        if instance is not None:
            instance = replace(instance, constructor=await self._stored(instance.constructor))
        return replace(sent, artifact_data=None, arguments=await self._stored(sent.arguments), instance=instance)

    async def _stored(self, payload: Payload) -> Payload:
        """A payload as it is where the client may upload: a large one is stored."""
        if payload.inline is None:
            return payload
        usual = Payload.of(payload.inline)
        if usual.sha256 is not None and not self._uploads.has(usual.sha256):
            await self._uploads.put_bytes(usual.sha256, payload.inline)
        return usual


async def _one(data: bytes) -> AsyncIterable[bytes]:
    yield data
