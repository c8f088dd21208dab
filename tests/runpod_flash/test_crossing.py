"""When no pickles go to an endpoint, and what is said to whom needed one."""

import pytest

from runpod_flash import crossing
from runpod_flash.crossing import HERE, PICKLED, Crossing
from runpod_flash.errors import NotPortable
from worker_runtime.wire.errors import CannotTravel

OTHER = "3.12" if HERE != "3.12" else "3.13"


def top() -> None: ...


def test_equal_versions_send_pickles() -> None:
    assert crossing.crossing(HERE) is PICKLED
    assert not PICKLED.neutral


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (crossing.crossing(OTHER), f"between Python {HERE} (this program) and {OTHER} (the endpoint)"),
        (crossing.crossing(OTHER, chosen=True), f"between Python {HERE} (this program) and {OTHER} (the endpoint)"),
        (crossing.crossing(HERE, chosen=True), f"no pickles (this program and the endpoint run on Python {HERE}"),
        (crossing.crossing(HERE, takes_pickles=False), "the platform takes no pickles from you"),
    ],
)  # fmt: skip
def test_why_none_are_sent(way: Crossing, reason: str) -> None:
    assert way.neutral
    assert reason in way.reason


def test_code_of_a_local_module_goes_by_its_own_name() -> None:
    assert crossing.entry(top, crossing.crossing(OTHER), is_local=True) == f"{__name__}:top"


def inner_of() -> object:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("target", "is_local", "why"),
    [
        (top, False, f"no file of yours has it as {__name__}.top"),
        (inner_of(), True, "it is defined inside another function"),
        (lambda: 1, True, "a lambda has no name in a file"),
    ],
)
def test_code_without_a_file_is_refused_with_both_versions_and_what_to_do(
    target: object, is_local: bool, why: str
) -> None:
    with pytest.raises(NotPortable) as caught:
        crossing.entry(target, crossing.crossing(OTHER), is_local=is_local)  # type: ignore[arg-type]
    said = str(caught.value)
    assert why in said
    assert f"Python {HERE} (this program) and {OTHER} (the endpoint)" in said
    assert f"leave python_version= out, or run this program with Python {OTHER}" in said


def test_another_advice_where_the_versions_are_equal() -> None:
    with pytest.raises(NotPortable, match="use a platform that takes your pickles"):
        crossing.entry(top, crossing.crossing(HERE, takes_pickles=False), is_local=False)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (("[0]", "[1]", ".foo"), ("argument b", (".foo",))),
        (("[0]", "[5]"), ("argument 6", ())),
        (("[1]", "['key']", "[0]"), ("argument key", ("[0]",))),
        (("[0]",), ("the arguments", ("[0]",))),
    ],
)
def test_arguments_are_called_by_their_names(steps: tuple[str, ...], expected: tuple[str, tuple[str, ...]]) -> None:
    assert crossing.argument(steps, ["a", "b"]) == expected


def test_the_part_of_a_value_is_named() -> None:
    found = CannotTravel(("[2]", ".foo"), "is a socket.socket")
    said = str(crossing.not_portable("argument x", found, crossing.crossing(OTHER), "do this"))
    assert said.startswith("argument x[2].foo is a socket.socket, which only a pickle could carry, and pickles do not")
    assert said.endswith("; do this")
