"""Round trips of arrays, frames, images and tensors, to be run by a Python that has them.

python -m tests.worker_runtime.wire.array_checks numpy      all checks of a package; says which it ran
"""

import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

from worker_runtime.wire import copying, neutral, payload, plain_json
from worker_runtime.wire.class_names import ClassNames
from worker_runtime.wire.errors import CannotTravel
from worker_runtime.wire.pieces import Pieces

NAMES = ClassNames()


def there_and_back(value: Any) -> Any:
    return neutral.decode(neutral.encode(value, NAMES).data, NAMES)


def refused(value: Any, told: str) -> None:
    said = "nothing"
    try:
        neutral.encode(value, NAMES)
    except CannotTravel as error:
        said = str(error)
    assert told in said, said


def numpy_arrays() -> None:
    import numpy as np

    rest = np.arange(24).reshape(2, 3, 4)
    arrays = [
        np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(10)[::2], np.array(5),
        np.zeros((0, 3)), np.array(["a", "bcd"]), np.array([b"x"]), np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
        np.array([1, 2], dtype=">i4"), np.array([True, False]), np.array([1 + 2j]), np.array([1.5], dtype="f2"),
        np.array([1], dtype="m8[25s]"), rest.transpose(1, 0, 2), rest[:, ::-1],
    ]  # fmt: skip
    for array in arrays:
        found = there_and_back(array)
        assert type(found) is np.ndarray
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
        assert found.flags.writeable
        if array.flags.f_contiguous != array.flags.c_contiguous:
            assert found.flags.f_contiguous == array.flags.f_contiguous


def numpy_structured() -> None:
    import numpy as np

    dtypes = [
        np.dtype([("a", "<i4"), ("b", ">f8", (2,))]),
        np.dtype([("a", "i1"), ("b", "f8")], align=True),
        np.dtype([(("title", "a"), "i4"), ("b", [("c", "U3")])]),
        np.dtype({"names": ["x", "y"], "formats": ["i2", "i2"], "offsets": [8, 0], "itemsize": 16}),
    ]
    for dtype in dtypes:
        array = np.zeros(3, dtype=dtype)
        array[dtype.names[0]] = 7
        found = there_and_back(array)
        assert found.dtype == dtype
        assert found.dtype.isalignedstruct == dtype.isalignedstruct
        assert found.tobytes() == array.tobytes()
        assert there_and_back(dtype) == dtype
        assert there_and_back(array[0]) == array[0]


def numpy_objects_and_scalars() -> None:
    import numpy as np

    array = np.array([1, "a", None, {"k": (1,)}], dtype=object).reshape(2, 2)
    assert there_and_back(array).tolist() == array.tolist()
    nested = np.empty(2, dtype=object)
    nested[:] = [[1, 2], [3]]
    assert there_and_back(nested).tolist() == [[1, 2], [3]]
    scalars = [
        np.float64(1.5), np.int8(3), np.bool_(True), np.str_("ü"), np.str_(""), np.bytes_(b"a"), np.complex64(1j),
        np.datetime64("2020-01-01"), np.timedelta64(3, "s"), np.longdouble("0.1"),
    ]  # fmt: skip
    for scalar in scalars:
        found = there_and_back(scalar)
        assert type(found) is type(scalar)
        assert found == scalar


def numpy_refusals() -> None:
    import numpy as np

    refused([{"a": np.ma.array([1])}], "[0]['a'] is a numpy.ma.MaskedArray")
    refused(np.array([{"f": print}], dtype=object), "[0]['f'] is a builtin_function_or_method (print)")
    refused(np.zeros(2, dtype=[("a", object)]), "has the dtype object")


def numpy_hostile() -> None:
    """Raw bytes never become references, and shapes never more than the bytes that came."""
    from tests.worker_runtime.wire.hostile import payload_of
    from worker_runtime.wire.errors import WireError

    eight = b"\1" * 8
    for tree in (
        ["numpy.array", "|O", [1], "C", 0],
        ["numpy.array", "O8", [1], "C", 0],
        ["numpy.array", ["fields", 8, False, ["a", "|O", 0]], [1], "C", 0],
        ["numpy.array", ["many", "|O", [1]], [1], "C", 0],
        ["numpy.array", ["fields", 8, False, ["a", "<i8", 4]], [1], "C", 0],
        ["numpy.array", "<i8", [2**40], "C", 0],
        ["numpy.array", "<U0", [2**40], "C", 0],
        ["numpy.array", "<i8", [-1], "C", 0],
        ["numpy.array", "objects", [2**40], "C"],
        ["numpy.scalar", "|O", 0],
        ["numpy.dtype", "i4,O"],
        ["numpy.dtype", "os.system"],
    ):
        try:
            neutral.decode(payload_of(tree, [8], eight), NAMES)
        except WireError:
            continue
        raise AssertionError(f"{tree} was made")


def pandas_frames() -> None:
    import numpy as np
    import pandas as pd

    days = pd.to_datetime(["2020-01-01", "2021-06-01"])
    frame = pd.DataFrame(
        {
            "whole": [1, 2], "text": ["x", None], "time": days, "zoned": days.tz_localize("Europe/Berlin"),
            "kind": pd.Categorical(["u", "v"], categories=["v", "u", "w"], ordered=True),
            "maybe": pd.array([1, None], dtype="Int64"), "flag": pd.array([True, None], dtype="boolean"),
            "string": pd.array(["q", None], dtype="string"), "float": [1.5, None],
            "mixed": np.array(["s", (2,)], dtype=object), "small": pd.array([1.5, None], dtype="Float32"),
            "span": pd.to_timedelta([1, 2], unit="s"), 7: [b"a", b"b"],
        },
        index=pd.Index(["r1", "r2"], name="n"),
    )  # fmt: skip
    frame.attrs = {"unit": "m"}
    found = there_and_back(frame)
    pd.testing.assert_frame_equal(found, frame)
    assert found.attrs == frame.attrs
    for other in (
        pd.DataFrame(),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["p", "q"])),
        pd.DataFrame({"a": [1.0] * 3}, index=pd.date_range("2020", periods=3, freq="D", tz="UTC")),
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame({"a": [1]}, index=pd.CategoricalIndex(["k"])),
    ):
        pd.testing.assert_frame_equal(there_and_back(other), other)


def pandas_series_and_scalars() -> None:
    import pandas as pd

    for series in (pd.Series([1, 2], name=("a", 1)), pd.Series(["a", None]), pd.Series([], dtype=float)):
        pd.testing.assert_series_equal(there_and_back(series), series)
    for index in (pd.RangeIndex(3, 9, 2, name="z"), pd.Index([1.5, 2.5]), pd.Index(["a", "b"])):
        pd.testing.assert_index_equal(there_and_back(index), index, exact=True)
    for moment in (pd.Timestamp("2020-01-01 01:02:03.000000004"), pd.Timestamp("2020-07-01", tz="Europe/Berlin")):
        found = there_and_back(moment)
        assert (found, found.unit, str(found.tz)) == (moment, moment.unit, str(moment.tz))
    assert there_and_back(pd.Timedelta("3s")) == pd.Timedelta("3s")
    assert there_and_back(pd.NaT) is pd.NaT
    assert there_and_back(pd.NA) is pd.NA
    refused(pd.DataFrame({"p": pd.period_range("2020", periods=2, freq="M")}), "['p'] has the dtype period[M]")


def pillow_images() -> None:
    import io

    from PIL import Image

    modes = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "RGBX"]
    for mode in modes:
        image = Image.new(mode, (5, 3))
        image.info = {"dpi": (72, 72), "icc_profile": b"x" * 300}
        found = there_and_back(image)
        assert (found.mode, found.size, found.info) == (image.mode, image.size, image.info)
        assert found.tobytes() == image.tobytes()
    gradient = Image.linear_gradient("L").convert("P")
    assert there_and_back(gradient).convert("RGB").tobytes() == gradient.convert("RGB").tobytes()
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(file, "PNG")
    read = Image.open(file)
    found = there_and_back(read)
    assert type(found) is Image.Image
    assert found.tobytes() == read.tobytes()


def pillow_hostile() -> None:
    from tests.worker_runtime.wire.hostile import payload_of
    from worker_runtime.wire.errors import WireError

    for mode, size in (("RGB", (100_000, 100_000)), ("RGB", (2, -1)), ("raw", (1, 1)), ("1", (65, 1))):
        try:
            neutral.decode(payload_of(["PIL.image", mode, *size, [], [], 0], [8], b"\0" * 8), NAMES)
        except WireError:
            continue
        raise AssertionError(f"an image of {mode} {size} was made")


def torch_tensors() -> None:
    import torch

    tensors = [
        torch.arange(6).reshape(2, 3), torch.tensor(3.5), torch.zeros(0, 3), torch.rand(3, 4).t(), torch.tensor([True]),
        torch.ones(2, dtype=torch.bfloat16), torch.tensor([1 + 2j]).conj(), torch.nn.Parameter(torch.rand(2)),
        torch.rand(2, requires_grad=True), torch.rand(2).to(torch.float8_e4m3fn), torch.rand(4, 4)[1:, ::2],
    ]  # fmt: skip
    for tensor in tensors:
        found = there_and_back(tensor)
        assert (found.dtype, found.shape, type(found)) == (tensor.dtype, tensor.shape, type(tensor))
        assert found.requires_grad == tensor.requires_grad
        assert torch.equal(found.to(torch.complex64), tensor.to(torch.complex64))
    with torch.no_grad():
        there_and_back(tensors[0]).add_(1)  # its memory is its own
    refused({"t": torch.eye(3).to_sparse()}, "['t'] is a tensor of layout torch.sparse_coo")


def numpy_plain() -> None:
    import numpy as np

    for value, plain in (
        (np.float32(0.5), "0.5"), (np.int64(3), "3"), (np.bool_(True), "true"), (np.array([[1, 2]]), "[[1,2]]"),
        (np.array(["a"]), '["a"]'), ({"v": [np.float64(1.0)]}, '{"v":[1.0]}'), (np.array(5), "5"),
        (np.array(["2020-01-01"], dtype="M8[D]"), '["2020-01-01"]'), (np.str_("a"), '"a"'),
    ):  # fmt: skip
        assert plain_json.encode(value) == plain.encode(), value
    for value, path in ((np.array([1.0, np.inf]), "[1]"), (np.complex64(1j), ""), (np.longdouble(1), ""), (b"", "")):
        found = None
        try:
            plain_json.encode(value)
        except CannotTravel as error:
            found = error.path
        assert found == path, value


def torch_plain() -> None:
    import torch

    assert plain_json.encode({"t": torch.tensor([[1, 2]]), "one": torch.tensor(0.5)}) == b'{"t":[[1,2]],"one":0.5}'


def torch_pickled() -> None:
    import torch

    grid = torch.rand(8, 6)
    tensors = [
        torch.arange(6).reshape(2, 3), torch.tensor(3.5), torch.zeros(0, 3), grid.t(), torch.tensor([True, False]),
        torch.ones(2, dtype=torch.bfloat16), torch.tensor([1 + 2j]).conj(), torch.nn.Parameter(torch.rand(2)),
        torch.rand(2, requires_grad=True), torch.rand(2).to(torch.float8_e4m3fn), grid[1:, ::2], grid[3], torch.rand(0),
        torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last), torch.rand(4).expand(3, 4), torch.rand(100, 300),
        torch.rand(3, requires_grad=True) * 2, torch.eye(3).to_sparse(), torch.rand(2, 1, 3).transpose(0, 2),
    ]  # fmt: skip
    for tensor in tensors:
        found = payload.decode(payload.encode(tensor))
        assert (found.dtype, found.shape, type(found)) == (tensor.dtype, tensor.shape, type(tensor))
        assert (found.requires_grad, found.layout) == (tensor.requires_grad, tensor.layout)
        assert torch.equal(found.to_dense().to(torch.complex64), tensor.to_dense().to(torch.complex64))
    for tensor in (grid.t(), tensors[13]):
        assert payload.decode(payload.encode(tensor)).stride() == tensor.stride()


def torch_pickled_shape() -> None:
    import torch

    large = torch.rand(1000, 100)
    assert payload.encode_pieces(large).size < large.nbytes + 4096  # type: ignore[union-attr]  # once
    assert len(payload.encode(large[5])) < 4096  # of a view what it shows
    both = payload.decode(payload.encode([large, large]))
    assert both[0] is both[1]
    original = large.clone()
    received = payload.decode(bytearray(payload.encode(large)))
    with torch.no_grad():
        received.add_(1)  # its memory is its own, also over bytes that cannot be written to
        payload.decode(payload.encode(large)).add_(1)
    assert torch.equal(large, original)
    layer = torch.nn.Linear(40, 30)
    layer.note = large  # type: ignore[assignment]
    found = payload.decode(payload.encode(layer))
    assert torch.equal(found(torch.ones(40)), layer(torch.ones(40)))
    assert torch.equal(found.note, large)
    marked = torch.ones(3)
    marked.name_of_it = "kept"  # type: ignore[attr-defined]
    assert payload.decode(payload.encode(marked)).name_of_it == "kept"


def numpy_copied() -> None:
    import numpy as np

    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    started = list[str]()

    class Counted(threading.Thread):
        def start(self) -> None:
            started.append(self.name)
            super().start()

    usual = os.sched_getaffinity, threading.Thread
    for cores, kind, threads in ((1, Counted, 0), (2, Counted, 1), (3, Counted, 2), (9, Counted, 3), (4, NoThread, 0)):
        for extra in (0, 1, 4095, 4097):
            data = np.random.default_rng(extra).integers(0, 256, copying.SHARED_FROM + extra, dtype=np.uint8).tobytes()
            target = bytearray(len(data) + 3)
            started.clear()
            os.sched_getaffinity = lambda _, cores=cores: set(range(cores))  # type: ignore[assignment,misc]
            threading.Thread = kind  # type: ignore[misc]
            try:
                copying.write(Pieces([b"a", data, memoryview(b"b")]), memoryview(target))
            finally:
                os.sched_getaffinity, threading.Thread = usual  # type: ignore[misc]
            assert target == b"a" + data + b"b\0", (cores, kind, extra)
            assert len(started) == threads, (cores, started)


CHECKS: dict[str, tuple[Callable[[], None], ...]] = {
    "numpy": (numpy_arrays, numpy_structured, numpy_objects_and_scalars, numpy_refusals, numpy_hostile, numpy_plain),
    "pandas": (pandas_frames, pandas_series_and_scalars),
    "pillow": (pillow_images, pillow_hostile),
    "numpy-copies": (numpy_copied,),
    "torch": (torch_tensors, torch_plain),
    "torch-pickles": (torch_pickled, torch_pickled_shape),
}


def main() -> None:
    """Run the checks of one package; the first that fails ends it."""
    warnings.simplefilter("error")
    for check in CHECKS[sys.argv[1]]:
        check()
        print(check.__name__)


if __name__ == "__main__":
    main()
