"""One call as the user made it."""

from types import FunctionType

from runpod_flash.calls import RemoteObject, Request
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
