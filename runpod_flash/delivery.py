"""How calls, and what they need, reach a platform: uploaded before, or carried by the call where that cannot be.

A platform without a place for artifacts and values gets them inside the calls: payloads in each, an artifact in the
first call of an endpoint, and again when the platform says that it has lost it.
"""

import asyncio
import inspect
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runpod_flash import crossing, shipping, signatures
from runpod_flash.backends.base import Backend
from runpod_flash.calls import AS_USUAL, JobOptions, Request
from runpod_flash.crossing import Crossing
from runpod_flash.retries import as_sent
from runpod_flash.settings import Settings
from runpod_flash.shipping import Artifact
from runpod_flash.spec import EndpointSpec
from worker_runtime.wire import neutral
from worker_runtime.wire.call_shape import Shape
from worker_runtime.wire.jobs import INLINE_LIMIT, Call, Instance, Payload
from worker_runtime.wire.pieces import Encoded, Pieces, joined
from worker_runtime.wire.specs import EnvironmentRequest, PackageIndex

_NO_ARGUMENTS = Payload.inlined(b"")
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

Holding = tuple[str, str]
"""An artifact (its id) and who has it: an endpoint (its id), or the platform as a whole ("")."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a submission brings: the call, the code that it may have to carry, and what its job is submitted with.

    `artifact` is None where the endpoint has code of its own.
    """

    artifact: Artifact | None
    call: Call
    options: JobOptions = AS_USUAL


def way_to(spec: EndpointSpec, settings: Settings, backend: Backend | None = None) -> Crossing:
    """How code and values go to an endpoint; before there is a backend, as far as that can be known."""
    if settings.target == "inline":  # nothing leaves this process
        return crossing.PICKLED
    return crossing.crossing(
        spec.python_version,
        chosen=settings.encoding == "neutral",
        takes_pickles=backend is None or backend.takes_pickles,
    )


def encoded(request: Request, way: Crossing) -> Encoded:
    """The encoded arguments of a call. Those of its object's constructor are kept with the object.

    Raises:
        NotPicklable, NotPortable: an argument cannot go this way.
    """

    def encode(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Encoded:
        return shipping.encode_arguments(args, kwargs, target_name=request.shown, target=request.target, way=way)

    instance = request.instance
    if instance is not None:
        known = instance.constructor
        if known is None or (way.neutral and not neutral.is_neutral(known)):
            instance.constructor = joined(encode(instance.args, instance.kwargs))
    return encode(request.args, request.kwargs)


def as_taken(
    request: Request, way: Crossing, arguments: bytes, settings: Settings, backend: Backend
) -> tuple[Crossing, bytes]:
    """The way and the arguments now that the platform is known: encoded anew where it takes no pickles."""
    if backend.takes_pickles or way.neutral:
        return way, arguments
    way = way_to(request.spec, settings, backend)
    return way, joined(encoded(request, way))


def environment_of(
    spec: EndpointSpec, way: Crossing, backend: Backend, index: PackageIndex, packages: tuple[str, ...] = ()
) -> EnvironmentRequest:
    """What the workers of an endpoint need; `packages`: more than the user named, from `index` as those."""
    dependencies = (*spec.dependencies, *packages)
    return EnvironmentRequest(
        python=way.python,
        dependencies=dependencies,
        system_dependencies=spec.system_dependencies,
        caller=sys.executable if backend.shares_machine and way.python == crossing.HERE else None,
        index=index if dependencies else PackageIndex(),
        accelerate=spec.accelerate_downloads or not dependencies,
        preload=spec.preload,
    )


def shipped(request: Request, way: Crossing, backend: Backend, index: PackageIndex) -> Artifact:
    """The artifact of what a request calls. `index`: where the packages of its environment come from.

    Raises:
        ShippingError: it cannot be sent this way; see `shipping.ship`.
    """
    spec = request.spec
    return shipping.ship(
        request.target,
        name=spec.name,
        environment=environment_of(spec, way, backend, index),
        max_concurrency=spec.concurrency,
        batch=spec.batch,
        way=way,
    )


class Delivery:
    """Delivers over one connection. `held` is shared by the connections of a session: what the platform has already."""

    def __init__(self, held: set[Holding]) -> None:
        self._held = held
        self._turns: defaultdict[Holding, asyncio.Lock] = defaultdict(asyncio.Lock)  # one brings it, others wait

    async def pack(self, backend: Backend, artifact: Artifact | None, request: Request, arguments: bytes) -> Parcel:
        """The parcel of a request; what can be uploaded is on the platform after this. See `Parcel` for `artifact`.

        Raises:
            BackendError, ShippingError: the platform does not take it.
        """
        call = await self.template(backend, artifact, request)
        return Parcel(artifact, call.with_arguments(await delivered(backend, arguments)), request.options)

    async def template(self, backend: Backend, artifact: Artifact | None, request: Request) -> Call:
        """The call of a request without its arguments; what can be uploaded is on the platform after this.

        Raises as `pack` does.
        """
        if backend.takes_uploads and artifact is not None:
            await self.upload(backend, artifact)
        wanted = request.spec.retries if request.retries is None else request.retries
        retries, backoff = as_sent(wanted)
        call = Call(
            "" if artifact is None else artifact.id,
            _NO_ARGUMENTS,
            request.method,
            retries=retries,
            backoff=backoff,
            inline=not backend.takes_uploads,
            stream=request.stream,
            shape=_shape(request) if artifact is None else None,
        )
        instance = request.instance
        if instance is not None and instance.constructor is not None:
            constructor = await delivered(backend, instance.constructor, stays=True)
            call = replace(call, instance=Instance(instance.id, constructor))
        return call

    async def submit(self, backend: Backend, endpoint_id: str, parcel: Parcel, key: str) -> str:
        """Submit the call and return the job's id; see `Backend.submit`."""
        artifact, holding = parcel.artifact, (endpoint_id, parcel.call.artifact)
        if artifact is not None and parcel.call.inline and holding not in self._held:
            async with self._turns[holding]:
                if holding not in self._held:
                    call = replace(parcel.call, artifact_data=artifact.data())
                    job_id = await backend.submit(endpoint_id, call.to_input(), key, parcel.options)
                    self._held.add(holding)
                    return job_id
        return await backend.submit(endpoint_id, parcel.call.to_input(), key, parcel.options)

    async def upload(self, backend: Backend, artifact: Artifact) -> None:
        """Bring an artifact to a platform that takes it by itself. Raises BackendError, ShippingError."""
        holding = "", artifact.id
        if holding in self._held:
            return
        async with self._turns[holding]:
            if holding not in self._held:
                if not await backend.has_artifact(artifact.id):
                    await backend.put_artifact(artifact.id, artifact.data())
                self._held.add(holding)


def _shape(request: Request) -> Shape | None:
    """Which parameters a call fills; None where what is called does not tell."""
    target, method = request.target, request.method
    if isinstance(target, type) and method is not None:
        known = signatures.of_method(target, method, inspect.getattr_static(target, method))
    else:
        known = signatures.of_function(target)
    if known is None:
        return None
    by_place = [each.name for each in known.of_callers.parameters.values() if each.kind in _BY_PLACE]
    count = len(request.args)
    return Shape(tuple(by_place[:count]), tuple(request.kwargs), max(0, count - len(by_place)))


async def delivered(backend: Backend, data: bytes, *, stays: bool = False) -> Payload:
    """Arguments as a call has them: a large payload is at the platform after this, where that takes uploads.

    `stays`: more than one call needs it.
    """
    if not backend.takes_uploads:
        return Payload.inlined(data)
    placed = backend.place(Pieces([data])) if len(data) > INLINE_LIMIT and not stays else None
    if placed is not None:
        return placed
    payload = Payload.of(data)
    if payload.sha256 is not None:
        await backend.put_value(payload.sha256, data)
    return payload
