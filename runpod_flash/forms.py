"""The call forms that need no more than a request: items of generators, many calls, calls with other options."""

from collections.abc import AsyncIterable, Coroutine, Iterable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Never,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from runpod_flash import lazy
from runpod_flash.call_options import AS_DECLARED, KEPT, CallOptions
from runpod_flash.calls import Request
from runpod_flash.generators import for_items
from runpod_flash.retries import Retries
from runpod_flash.spec import EndpointSpec

if TYPE_CHECKING:
    from runpod_flash.mapping import Mapped
    from runpod_flash.streams import Stream

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")
R = TypeVar("R")
A_contra = TypeVar("A_contra", contravariant=True)
B_contra = TypeVar("B_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

Many: TypeAlias = Iterable[A] | AsyncIterable[A]
"""What `map` takes."""


class TakesOne(Protocol[A_contra, R_co]):
    """What can be called with one argument."""

    def __call__(self, item: A_contra, /) -> Coroutine[None, None, R_co]: ...


class TakesTwo(Protocol[A_contra, B_contra, R_co]):
    """What can be called with two arguments."""

    def __call__(self, item: A_contra, other: B_contra, /) -> Coroutine[None, None, R_co]: ...


class Forms(Generic[P, R]):
    """What can be called remotely, one way or another."""

    __name__: str
    __qualname__: str
    _options: CallOptions = AS_DECLARED

    @property
    def _spec(self) -> EndpointSpec:
        """The endpoint."""
        raise NotImplementedError

    def _request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Request:
        """Check the arguments and say what shall run. Raises CallError."""
        raise NotImplementedError

    def stream(self, /, *args: P.args, **kwargs: P.kwargs) -> "Stream[Any]":
        """The items that a generator yields on a worker, as they come: for `async for`, or `for` in blocking code.

        Nothing is sent before the first item is asked for. See `Stream`.

        Raises:
            CallError: the arguments do not fit the signature, or it is no generator.
        """
        request = for_items(self._request(args, kwargs))
        return cast("Stream[Any]", lazy.load("runpod_flash.streams").of_call(request, _session()))

    @overload
    def map(
        self: "TakesOne[A, R]", items: "Many[A]", /, *,
        concurrency: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
    ) -> "Mapped[R]": ...  # fmt: skip
    @overload
    def map(
        self: "TakesOne[A, R]", items: "Many[A]", /, *,
        concurrency: int | None = None, ordered: bool = True, return_exceptions: bool,
    ) -> "Mapped[R | Exception]": ...  # fmt: skip
    @overload
    def map(
        self: "TakesTwo[A, B, R]", items: "Many[A]", others: "Many[B]", /, *more: "Many[Any]",
        concurrency: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
    ) -> "Mapped[R]": ...  # fmt: skip
    @overload
    def map(
        self: "TakesTwo[A, B, R]", items: "Many[A]", others: "Many[B]", /, *more: "Many[Any]",
        concurrency: int | None = None, ordered: bool = True, return_exceptions: bool,
    ) -> "Mapped[R | Exception]": ...  # fmt: skip
    def map(
        self, *iterables: Any, concurrency: int | None = None, ordered: bool = True, return_exceptions: bool = False
    ) -> Any:
        """Call it once for each item of an iterable, plain or async, or as with the built-in `map` of several.

            async for result in f.map(xs): ...       for result in f.map(xs): ...        # blocking code
            results = await f.map(xs)                results = list(f.map(xs))

        The iterables may be endless: they are pulled when there is room. See `mapping.Mapped`.

        Args:
            iterables: one for each positional argument; the shortest ends it.
            concurrency: calls under way at a time. Default: four for each that the workers can run, at least 64.
            ordered: whether results come in the order of the inputs, or as they are there.
            return_exceptions: whether a call that fails gives its exception as its result. Otherwise it raises at its
                place, and the calls after it are cancelled.

        Raises:
            CallError: no iterable, or one argument of each does not fit the signature; nothing was sent.
            ConfigError: `concurrency` is not 1 or more.
        """
        how = {"concurrency": concurrency, "ordered": ordered, "return_exceptions": return_exceptions}
        return lazy.load("runpod_flash.mapping").map_over(self, iterables, _session(), self._spec, **how)

    @overload
    def starmap(
        self, tuples: "Many[Any]", /, *,
        concurrency: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
    ) -> "Mapped[R]": ...  # fmt: skip
    @overload
    def starmap(
        self, tuples: "Many[Any]", /, *,
        concurrency: int | None = None, ordered: bool = True, return_exceptions: bool,
    ) -> "Mapped[R | Exception]": ...  # fmt: skip
    def starmap(
        self, tuples: Any, /, *, concurrency: int | None = None, ordered: bool = True, return_exceptions: bool = False
    ) -> Any:
        """As `map`, with one iterable whose items are tuples: the arguments of one call each."""
        how = {"concurrency": concurrency, "ordered": ordered, "return_exceptions": return_exceptions}
        return lazy.load("runpod_flash.mapping").map_over_tuples(self, tuples, _session(), self._spec, **how)

    def with_options(
        self,
        *,
        timeout: float | None = KEPT,
        queue_timeout: float | None = KEPT,
        retries: int | Retries | None = KEPT,
        webhook: str | None = KEPT,
        priority: Literal["normal", "low"] | None = KEPT,
        **unknown: Never,
    ) -> Self:
        """The same with other options for its calls; what is not given stays as it was, None is the endpoint's own.

        Args:
            timeout: how long each attempt may run, in seconds; longer ones are stopped and raise JobTimedOut.
            queue_timeout: how long the call may wait for a worker, in seconds, each time that it is queued; then it
                raises JobExpired.
            retries: as for `Endpoint`.
            webhook: the URL to which the platform posts the job when it has ended.
            priority: "low": no worker is started for it; it runs on those that others need.

        Raises:
            ConfigError, UnknownOption: an option is wrong.
        """
        given = {
            "timeout": timeout, "queue_timeout": queue_timeout, "retries": retries, "webhook": webhook,
            "priority": priority,
        }  # fmt: skip
        return self._with(self._options.changed(given, unknown))

    def _with(self, options: CallOptions) -> Self:
        """The same with these options."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._options = options
        return other


def _session() -> Any:
    return lazy.load("runpod_flash.plane_start").session()
