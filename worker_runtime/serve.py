"""The child that serves routes over HTTP: a FastAPI application made of plain functions, or the user's own application.

The one file of the worker that needs more than the standard library and cloudpickle: FastAPI and uvicorn, which come
into the environment of every endpoint with routes.
"""

import contextlib
import faulthandler
import functools
import inspect
import logging
import operator
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import fastapi
import pydantic
import starlette
import uvicorn
from fastapi.encoders import jsonable_encoder
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.routing import compile_path

from worker_runtime.asgi import Guarded
from worker_runtime.failures import load_failure
from worker_runtime.wire import paths, payload
from worker_runtime.wire.errors import PicklesRefused
from worker_runtime.wire.methods import BODY_METHODS, WEBSOCKET
from worker_runtime.wire.routes import CANNOT_SERVE, Served, ServedRoute, from_names, is_by_name

LARGEST_MESSAGE = 64 * 1024**2
"""Bytes of a websocket's message; what passes the gateway is smaller."""

_KEEP_ALIVE_S = 3600  # the gateway keeps idle connections for seconds, and must be the one who closes them
_NO_START = 3  # the exit code of a server whose port is taken
_LIBRARIES = (fastapi.__name__, starlette.__name__)
_MEDIA: dict[type, str] = {str: "text/plain; charset=utf-8", bytes: "application/octet-stream"}
_LINES = "application/x-ndjson"


def main(setup: Mapping[str, Any]) -> None:
    """Serve until SIGTERM. `setup`: artifact (path), pickles, port, name, grace_s (seconds for requests at the end).

    What keeps the code from being loaded, or the application from starting, is written to standard error, and the
    process ends with CANNOT_SERVE.
    """
    sys.argv = [setup["name"]]
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore", "uvicorn", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        served = load(Path(setup["artifact"]).read_bytes(), pickles=setup["pickles"])
        application = application_of(served, setup["name"])
    except BaseException as error:  # noqa: BLE001 - the user's modules run here, and may call sys.exit
        failure = load_failure(f"what endpoint '{setup['name']}' serves", error)
        sys.stderr.write(f"{failure.traceback}{failure.message}\n")
        sys.exit(CANNOT_SERVE)
    server = uvicorn.Server(
        uvicorn.Config(
            Guarded(application),
            host="127.0.0.1",
            port=setup["port"],
            log_config=None,
            access_log=False,
            server_header=False,
            ws_max_size=LARGEST_MESSAGE,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, int(setup["grace_s"])),
        )
    )
    with contextlib.suppress(SystemExit):  # which some versions raise where they cannot start
        server.run()
    if not server.started:
        lifespan_failed = getattr(getattr(server, "lifespan", None), "should_exit", False)
        sys.exit(CANNOT_SERVE if lifespan_failed else _NO_START)


def load(artifact: bytes, *, pickles: bool = True) -> Served:
    """What an artifact says shall be served; the user's modules are imported by this.

    Raises PicklesRefused where it would have to be unpickled and must not be, and whatever the user's code raises.
    """
    code = paths.read_code(artifact) or b""
    if is_by_name(code):
        return from_names(code)
    if not pickles:
        raise PicklesRefused("it is a pickle, and this platform loads no pickles of yours")
    served = payload.decode(code)()
    assert isinstance(served, Served)
    return served


def application_of(served: Served, title: str) -> Any:
    """The ASGI application. Raises whatever the user's own code, or FastAPI, raises."""
    if served.make_app is not None:
        return served.make_app()
    application = fastapi.FastAPI(title=title)
    for route in served.routes:
        endpoint = _endpoint(route)
        if route.method == WEBSOCKET:
            application.add_api_websocket_route(route.path, endpoint)
            continue
        application.add_api_route(
            route.path,
            endpoint,
            methods=[route.method],
            response_model=_response_model(inspect.signature(endpoint).return_annotation, route.function),
        )
    return application


# --- signatures: what FastAPI shall see in place of the function's own ------------------------------------------------


def _endpoint(route: ServedRoute) -> Callable[..., Any]:
    """What FastAPI calls: the function behind the signature that its route gives it."""
    function = route.function
    signature = _resolved(route)
    by_position = [name for name, one in signature.parameters.items() if one.kind is one.POSITIONAL_ONLY]

    def call(values: dict[str, Any]) -> Any:
        return function(*[values.pop(name) for name in by_position], **values)

    endpoint = _of_the_same_kind(function, call)
    endpoint.__name__ = endpoint.__qualname__ = function.__name__
    endpoint.__doc__ = inspect.getdoc(function)
    endpoint.__module__ = function.__module__
    endpoint.__signature__ = signature.replace(parameters=_bound(route, signature))  # type: ignore[attr-defined]
    return endpoint


def _of_the_same_kind(function: Callable[..., Any], call: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    """What gives its keywords to `call`: asynchronous where the function is, for FastAPI runs others in threads."""

    async def streamed(**values: Any) -> Any:
        return await _streamed(call(values))

    async def awaited(**values: Any) -> Any:
        return await call(values)

    def called(**values: Any) -> Any:
        return call(values)

    if _is_generator(function):
        return streamed
    return awaited if inspect.iscoroutinefunction(function) else called


def _resolved(route: ServedRoute) -> inspect.Signature:
    """The function's signature, with types in place of annotations that are text."""
    signature = inspect.signature(route.function, eval_str=not route.hints)
    if not route.hints:
        return signature
    parameters = [
        one.replace(annotation=route.hints.get(name, one.annotation)) for name, one in signature.parameters.items()
    ]
    returned = route.hints.get("return", signature.return_annotation)
    return signature.replace(parameters=parameters, return_annotation=returned)


def _bound(route: ServedRoute, signature: inspect.Signature) -> list[inspect.Parameter]:
    """The parameters as FastAPI shall bind them: keywords, and where the route has a body, fields of it.

    Those that name their place themselves (Query, Header, Depends …), that FastAPI fills by their type (Request …) and
    those of the path stay as they are.
    """
    parameters = [one.replace(kind=one.KEYWORD_ONLY) for one in signature.parameters.values()]
    if route.method not in BODY_METHODS:
        return parameters
    placeholders = set(compile_path(route.path)[2])
    free = [one.name for one in parameters if one.name not in placeholders and not names_its_place(one)]
    bound = _binder([one for one in parameters if one.name in free])
    return [bound(one) if one.name in free else one for one in parameters]


def _binder(fields: list[inspect.Parameter]) -> Callable[[inspect.Parameter], inspect.Parameter]:
    """How these parameters, all that make the body, are bound."""
    if any(one.annotation is bytes for one in fields):
        return lambda one: _annotated(one, fastapi.File() if one.annotation is bytes else fastapi.Form())
    if len(fields) == 1 and _is_model(fields[0].annotation):
        return lambda one: one
    if len(fields) == 1 and _is_dict(fields[0].annotation):
        unwrap = pydantic.BeforeValidator(functools.partial(_unwrapped, fields[0].name))
        return lambda one: _annotated(one, unwrap, fastapi.Body())
    return lambda one: _annotated(one, fastapi.Body(embed=True))


def _annotated(parameter: inspect.Parameter, *notes: Any) -> inspect.Parameter:
    kind: Any = Any if parameter.annotation is parameter.empty else parameter.annotation
    for note in notes:
        kind = Annotated[kind, note]
    return parameter.replace(annotation=kind)


def _unwrapped(name: str, body: Any) -> Any:
    """The object of a body that has nothing else; a body that has no field `name` is the object itself."""
    only = isinstance(body, dict) and len(body) == 1 and isinstance(body.get(name), dict)
    return body[name] if only else body


def names_its_place(parameter: inspect.Parameter) -> bool:
    """Whether FastAPI knows by the parameter's type, its notes or its default where the value comes from."""
    notes = get_args(parameter.annotation)[1:] if get_origin(parameter.annotation) is Annotated else ()
    kinds = (parameter.annotation, type(parameter.default), *map(type, notes))
    return any(str(getattr(kind, "__module__", "")).partition(".")[0] in _LIBRARIES for kind in kinds)


def _is_model(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, pydantic.BaseModel)


def _is_dict(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return inspect.isclass(origin) and issubclass(origin, Mapping)


def _response_model(returned: Any, function: Callable[..., Any]) -> Any:
    """The type that FastAPI checks and describes answers by; None where it could not."""
    if returned is inspect.Signature.empty or _is_generator(function):
        return None
    if inspect.isclass(returned) and issubclass(returned, fastapi.Response):
        return None
    try:
        pydantic.TypeAdapter(returned)
    except pydantic.PydanticUserError:
        return None
    return returned


# --- streams ----------------------------------------------------------------------------------------------------------


def _is_generator(function: Callable[..., Any]) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


async def _streamed(items: Any) -> fastapi.Response:
    """The answer that gives what a generator yields as it comes: text and bytes as they are, all else as lines of JSON.

    The first item decides about the kind of the answer; what the generator raises before it is the request's failure.
    """
    several = items if inspect.isasyncgen(items) else _in_threads(items)
    try:
        first = await anext(several)
    except StopAsyncIteration:
        return fastapi.Response(media_type=_LINES)
    return StreamingResponse(_encoded(first, several), media_type=_MEDIA.get(type(first), _LINES))


async def _encoded(first: Any, rest: Any) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(rest):
        yield _bytes(first)
        async for item in rest:
            yield _bytes(item)


async def _in_threads(items: Iterator[Any]) -> AsyncIterator[Any]:
    """A plain generator, whose steps run in threads."""
    try:
        async for item in iterate_in_threadpool(items):
            yield item
    finally:
        await run_in_threadpool(operator.methodcaller("close"), items)


def _bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode()
    encoded = pydantic.TypeAdapter(Any).dump_json(jsonable_encoder(item))
    return encoded + b"\n"
