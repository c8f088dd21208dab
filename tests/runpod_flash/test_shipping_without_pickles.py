"""What is shipped where no pickle may go: the script and local modules as files, arguments in the neutral encoding."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.crossing import HERE, crossing
from runpod_flash.errors import NotPortable
from runpod_flash.shipping import Shipper
from worker_runtime.wire import encoding, neutral, paths
from worker_runtime.wire.class_names import SCRIPT, UnknownClass
from worker_runtime.wire.specs import EnvironmentRequest

OTHER = "3.12" if HERE != "3.12" else "3.13"
WAY = crossing(OTHER)
TEXT = """
import dataclasses
import beside
@dataclasses.dataclass
class Point:
    x: object
def f(point, *, label=None): return point
class Model:
    def predict(self, x): return x
def make():
    def inner(): ...
    return inner
"""


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A script with a module beside it, as the running program."""
    (tmp_path / "beside.py").write_text("import dataclasses\n@dataclasses.dataclass\nclass Setting:\n    name: str\n")
    (tmp_path / "script.py").write_text(TEXT)
    (tmp_path / "other.py").write_text("import pathlib\npathlib.Path('imported').touch()\nclass Thing: ...\n")
    module = types.ModuleType("__main__")
    module.__file__ = str(tmp_path / "script.py")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    exec(compile(TEXT, module.__file__, "exec"), module.__dict__)
    return module


def ship(shipper: Shipper, target: Any) -> Any:
    return shipper.ship(target, name="f", environment=EnvironmentRequest(OTHER), max_concurrency=1, way=WAY)


def test_the_script_goes_as_a_file_with_what_it_imports(main: types.ModuleType) -> None:
    artifact = ship(Shipper(), main.f)
    assert artifact.manifest.entry == f"{SCRIPT}:f"
    assert set(artifact.manifest.files) == {f"{SCRIPT}.py", "beside.py"}
    assert paths.read_code(artifact.data()) is None
    assert ship(Shipper(), main.Model).manifest.entry == f"{SCRIPT}:Model"


def test_an_edited_script_is_another_artifact(main: types.ModuleType, tmp_path: Path) -> None:
    shipper = Shipper()
    before = ship(shipper, main.f)
    assert ship(shipper, main.f) is before
    (tmp_path / "script.py").write_text(TEXT + "# more\n")
    assert ship(shipper, main.f).id != before.id


def test_the_same_function_goes_either_way(main: types.ModuleType) -> None:
    shipper = Shipper()
    assert ship(shipper, main.f).manifest.entry is not None
    pickled = shipper.ship(main.f, name="f", environment=EnvironmentRequest(HERE), max_concurrency=1)
    assert pickled.manifest.entry is None
    assert ship(shipper, main.f).manifest.entry is not None


def test_arguments_name_classes_as_workers_have_them(main: types.ModuleType) -> None:
    shipper = Shipper()
    data = shipper.encode_arguments((main.Point([1]),), {}, target_name="f", target=main.f, way=WAY)
    assert neutral.is_neutral(data)
    assert b'["__flash_main__","Point"]' in data
    with pytest.raises(UnknownClass, match="No module named '__flash_main__'"):
        encoding.decode(data, encoding.ON_WORKERS)  # no worker of the script
    (back,), _ = encoding.decode(data, shipper.names())
    assert type(back) is main.Point


def test_modules_of_arguments_travel_along(main: types.ModuleType) -> None:
    shipper, beside = Shipper(), sys.modules["beside"]
    (Path(main.__file__ or "").parent / "lonely.py").write_text("def g(x): return x\n")
    lonely = __import__("lonely")
    assert set(ship(shipper, lonely.g).manifest.files) == {"lonely.py"}
    for value, more in ((beside.Setting("s"), {"beside.py"}), (main.Point(1), {"beside.py", f"{SCRIPT}.py"})):
        shipper.encode_arguments((value,), {}, target_name="g", target=lonely.g, way=WAY)
        assert set(ship(shipper, lonely.g).manifest.files) == {"lonely.py", *more}
    del sys.modules["lonely"]


def test_a_result_imports_only_what_has_travelled(
    main: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipper = Shipper()
    ship(shipper, main.f)
    monkeypatch.delitem(sys.modules, "beside")
    assert shipper.names().find("beside", "Setting").__module__ == "beside"
    with pytest.raises(UnknownClass, match="module 'other' is not loaded here"):
        shipper.names().find("other", "Thing")
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((1,), {"label": {"k": print}}, r"argument label\['k'\] of f\(\) is a builtin_function_or_method \(print\)"),
        (([0, print],), {}, r"argument point\[1\] of f\(\) is a builtin"),
        ((1, 2, print), {}, r"argument 3 of f\(\) is a builtin"),
    ],
)
def test_a_part_that_has_no_form_is_named(
    main: types.ModuleType, args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(NotPortable, match=said):
        Shipper().encode_arguments(args, kwargs, target_name="f", target=main.f, way=WAY)


def test_a_part_of_an_object_of_the_script_is_named(main: types.ModuleType) -> None:
    with pytest.raises(NotPortable, match=rf"argument point\.x\[0\] of f\(\) is .*{HERE} \(this program\) and {OTHER}"):
        Shipper().encode_arguments((main.Point([print]),), {}, target_name="f", target=main.f, way=WAY)


def test_a_closure_is_refused(main: types.ModuleType) -> None:
    with pytest.raises(NotPortable, match=r"make\.<locals>\.inner\(\) cannot go .* inside another function"):
        ship(Shipper(), main.make())
