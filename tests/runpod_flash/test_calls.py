"""One call as the user made it."""

from types import FunctionType

from runpod_flash.calls import JobOptions, RemoteObject, Request
from runpod_flash.options import check


def f() -> None: ...


def test_messages_name_the_function_or_the_method() -> None:
    assert isinstance(f, FunctionType)
    assert Request(f, check({}), (), {}).shown == "f"
    assert Request(Request, check({}), (), {}, method="go").shown == "Request.go"


def test_each_object_has_its_own_id_and_was_not_used_yet() -> None:
    one, other = RemoteObject((), {}), RemoteObject((), {})
    assert one.id != other.id
    assert one != other
    assert one.session is None


def test_options_of_a_job_are_in_the_words_of_the_published_body() -> None:
    options = JobOptions(timeout_ms=6000, queue_timeout_ms=7000, ttl_ms=10_000, low_priority=True, webhook="http://x/")
    policy = {"executionTimeout": 6000, "queueTimeout": 7000, "ttl": 10_000, "lowPriority": True}
    assert options.to_body() == {"policy": policy, "webhook": "http://x/"}


def test_options_that_say_nothing_add_nothing_to_the_body() -> None:
    assert JobOptions().to_body() == {}
