"""Remote classes, for type checkers; never run. `type: ignore` marks what must be an error.

What is known: the class of an object. What is not: its constructor's and its methods' parameters and results, as no
type maps the attributes of another; who wants them names them (`typed`). `Endpoint(…)(Model)` is meant everywhere,
not `@Endpoint(…)`: mypy takes a decorated class for the class itself.
"""

from typing import Any, assert_type

from runpod_flash import Endpoint, EndpointJob
from runpod_flash.remote import CallForms, RemoteClass, RemoteInstance


class Model:
    SIZE = 3

    def __init__(self, name: str) -> None:
        self.name = name

    def predict(self, x: int) -> float:
        return x / 2


RemoteModel = Endpoint(name="model", cpu="cpu3c-1-2")(Model)


def known() -> None:
    assert_type(RemoteModel, RemoteClass[Model])
    assert_type(RemoteModel("a"), RemoteInstance[Model])
    assert_type(RemoteModel.local("a"), Model)
    assert_type(RemoteModel.local("a").predict(1), float)
    assert_type(RemoteModel.SIZE, Any)
    assert_type(RemoteModel.job("id"), EndpointJob[Any])
    with RemoteModel("a") as model:
        assert_type(model, RemoteInstance[Model])
        assert_type(model.predict.remote(1), Any)


async def awaited() -> None:
    async with RemoteModel("a") as model:
        assert_type(model, RemoteInstance[Model])
        assert_type(await model.predict(1), Any)
        assert_type(await model("called itself"), Any)
    await model.aclose()


async def typed(model: RemoteInstance[Model]) -> None:
    predict: CallForms[[int], float] = model.predict
    assert_type(await predict(1), float)
    assert_type(predict.remote(1), float)
    assert_type(predict.spawn(1), EndpointJob[float])
    predict.remote("1")  # type: ignore[arg-type]


def mistakes(model: RemoteInstance[Model]) -> None:
    other: RemoteInstance[str] = RemoteModel("a")  # type: ignore[assignment]
    model.close(1)  # type: ignore[call-arg]
    real: Model = model  # type: ignore[assignment]
    del other, real
