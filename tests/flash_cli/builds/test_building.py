"""A project becomes a manifest and artifacts: equal for equal input, and what they hold can be run."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from flash_cli.builds.building import Built
from flash_cli.builds.manifest import BuildManifest, BuiltEndpoint
from runpod_flash.errors import ConfigError
from tests.support.builds import QUEUE, built, write
from worker_runtime.wire import paths
from worker_runtime.wire.routes import from_names, is_by_name
from worker_runtime.wire.specs import ArtifactManifest

PROJECT = {
    "gpu.py": """
        from runpod_flash import Endpoint, GpuType, NetworkVolume, PodTemplate, Retries
        from pkg import scale

        @Endpoint(
            name="infer", gpu=GpuType.ANY, gpu_count=4, workers=(1, 3), idle_timeout=90, dependencies=["numpy>=1"],
            system_dependencies=["ffmpeg"], execution_timeout_ms=600_000, flashboot=False, env={"A": "1"},
            volume=NetworkVolume("models", size=20), template=PodTemplate(containerDiskInGb=200), scaler_value=2,
        )
        async def infer(data: list[int], factor: float = 2.0) -> list[float]:
            "Infers."
            return scale(data, factor)

        @Endpoint(name="model", cpu="cpu3c-1-2", max_concurrency=3, retries=Retries(2, on=OSError, initial_delay=1))
        class Model:
            def predict(self, text: str) -> str: return text
    """,
    "lb.py": """
        from runpod_flash import Endpoint
        api = Endpoint(name="api", cpu="cpu3c-1-2")
        other = Endpoint(name="other", cpu="cpu3c-1-2")

        @api.get("/a/{x}")
        def a(x: int):
            "First."
            return x

        @other.websocket("/b")
        async def b(ws): ...

        llm = Endpoint(name="llm", image="vllm/vllm-openai:latest")
    """,
    "pkg/__init__.py": "from .inner import scale",
    "pkg/inner.py": "def scale(xs, f): return [x * f for x in xs]",
    "pkg/data.json": "{}",
    "words.txt": "a",
    "unused.py": "raise RuntimeError",
    "requirements.txt": "Numpy<3\nscipy\nrunpod-flash\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("project"), PROJECT)


@pytest.fixture(scope="module")
def whole(project: Path) -> Built:
    return built(project)


def endpoint(found: Built, name: str) -> BuiltEndpoint:
    return next(each for each in found.manifest.endpoints if each.name == name)


def artifact(found: Built, name: str) -> tuple[ArtifactManifest, bytes]:
    data = found.artifacts[str(endpoint(found, name).artifact)].read_bytes()
    return paths.read_manifest(data), data


def test_every_option_arrives_in_the_body(whole: Built) -> None:
    body = dict(endpoint(whole, "infer").body)
    assert body.pop("gpu")["count"] == 4
    assert body.pop("artifact") == endpoint(whole, "infer").artifact
    assert body == {
        "name": "infer", "type": "QUEUE", "image": "runpod/flash", "workers": {"min": 1, "max": 3, "idleTimeout": 90},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 2}, "env": {"A": "1"}, "dataCenterIds": [], "timeout": 600_000,
        "flashboot": "OFF", "disk": 200,
    }  # fmt: skip
    assert endpoint(whole, "infer").volumes == ({"name": "models", "size": 20, "dataCenter": "EU-RO-1"},)


def test_what_only_the_platform_knows_is_left_open(whole: Built) -> None:
    assert "scaling" not in endpoint(whole, "model").body
    assert endpoint(whole, "api").body["scaling"] == {"type": "REQUEST_COUNT", "requestCount": 4}
    assert all("networkVolumes" not in each.body for each in whole.manifest.endpoints)


def test_endpoints_are_described(whole: Built) -> None:
    kinds = {each.name: (each.kind, each.file, each.object) for each in whole.manifest.endpoints}
    assert kinds == {
        "infer": ("function", "gpu.py", "infer"),
        "model": ("class", "gpu.py", "Model"),
        "api": ("routes", "lb.py", "api"),
        "other": ("routes", "lb.py", "other"),
        "llm": ("image", "lb.py", "llm"),
    }
    (route,) = endpoint(whole, "api").routes
    assert (route.method, route.path, route.function, route.doc) == ("GET", "/a/{x}", "lb.a", "First.")
    infer = endpoint(whole, "infer")
    assert infer.doc == "Infers."
    assert infer.interface is not None
    assert [each.name for each in infer.interface.calls[""]] == ["data", "factor"]
    assert endpoint(whole, "llm").artifact is None
    assert whole.faults == ()


def test_code_goes_by_what_is_imported_and_data_with_it(whole: Built) -> None:
    assert set(artifact(whole, "infer")[0].files) == {
        "gpu.py", "pkg/__init__.py", "pkg/inner.py", "pkg/data.json", "words.txt"
    }  # fmt: skip
    assert set(artifact(whole, "api")[0].files) == {"lb.py", "pkg/data.json", "words.txt"}


def test_code_is_named_and_never_pickled(whole: Built) -> None:
    manifest, data = artifact(whole, "infer")
    assert manifest.entry == "gpu:infer"
    assert paths.read_code(data) is None
    assert manifest.interface == endpoint(whole, "infer").interface
    model = artifact(whole, "model")[0]
    assert (model.max_concurrency, model.retries) == (3, 2)
    assert model.backoff is not None
    assert (model.backoff.on, model.backoff.initial_delay_s) == (("OSError",), 1)
    assert (manifest.retries, manifest.backoff) == (None, None)
    code = paths.read_code(artifact(whole, "api")[1])
    assert code is not None
    assert is_by_name(code)


def test_requirements_are_those_of_the_endpoint_the_file_and_its_routes(whole: Built) -> None:
    manifest = artifact(whole, "infer")[0]
    assert endpoint(whole, "infer").requirements == ("numpy>=1", "Numpy<3", "scipy")
    assert manifest.environment.dependencies == ("numpy>=1", "Numpy<3", "scipy")
    assert manifest.environment.system_dependencies == ("ffmpeg",)
    assert manifest.environment.caller is None
    assert endpoint(whole, "api").requirements == ("Numpy<3", "scipy", "fastapi", "uvicorn")
    assert endpoint(whole, "other").requirements[-1] == "websockets"


def test_excluded_packages_are_required_by_nobody(project: Path) -> None:
    found = built(project, exclude=("NumPy", "fastapi", "torch"))
    assert endpoint(found, "infer").requirements == ("scipy",)
    assert endpoint(found, "api").requirements == ("scipy", "uvicorn")
    assert [text for text in found.warnings if "torch" in text]


def test_equal_projects_give_equal_bytes(project: Path, whole: Built, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        for name in reversed(PROJECT):
            write(tmp_path / "other name", {name: PROJECT[name]})
    finally:
        os.umask(before)
    for file in (tmp_path / "other name").rglob("*"):
        os.utime(file, (1e9, 1e9))
    found = built(tmp_path / "other name")
    assert found.manifest.dumps() == whole.manifest.dumps()
    for name, file in whole.artifacts.items():
        assert found.artifacts[name].read_bytes() == file.read_bytes()


def test_another_endpoints_code_changes_only_that(project: Path, whole: Built, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "p")
    write(tmp_path / "p", {"pkg/inner.py": "def scale(xs, f): return []"})
    found = built(tmp_path / "p")
    changed = {each.name for each in found.manifest.endpoints if each.artifact != endpoint(whole, each.name).artifact}
    assert changed == {"infer", "model"}


def test_a_known_build_is_not_read_again(project: Path, whole: Built) -> None:
    words = project / "words.txt"
    stamp = words.stat().st_mtime_ns
    try:
        words.write_text("b")  # in place, with the time set back: as if it were unchanged
        os.utime(words, ns=(stamp, stamp))
        assert built(project, whole).manifest == whole.manifest
        assert built(project).manifest != whole.manifest
    finally:
        words.write_text("a")


def test_artifacts_hold_what_runs(project: Path, whole: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = artifact(whole, "api")
    paths.unpack_files(data, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        served = from_names(paths.read_code(data) or b"")
        assert [(each.method, each.path, each.function(3)) for each in served.routes] == [("GET", "/a/{x}", 3)]
        assert os.path.dirname(sys.modules["lb"].__file__ or "") == str(tmp_path)
    finally:
        sys.modules.pop("lb", None)


def test_the_manifest_comes_back_from_json(whole: Built) -> None:
    assert BuildManifest.from_json(whole.manifest.to_json()).fingerprint == whole.manifest.fingerprint


def test_a_shared_interpreter_is_the_environment(project: Path) -> None:
    found = built(project, shared_interpreter=sys.executable)
    assert artifact(found, "infer")[0].environment.caller == sys.executable


def test_another_python_is_for_endpoints_that_name_none(tmp_path: Path) -> None:
    other = next(each for each in ("3.11", "3.12") if each != f"3.{sys.version_info[1]}")
    named = QUEUE.format(name="g").replace('name="g"', f'name="g", python_version="{other}"')
    root = write(tmp_path, {"a.py": QUEUE.format(name="f"), "b.py": named})
    assert {each.name: each.python for each in built(root, python_version="3.13").manifest.endpoints} == {
        "f": "3.13",
        "g": other,
    }
    with pytest.raises(ConfigError, match=r"--python-version is '2\.7'; it must be one of 3\.11"):
        built(root, python_version="2.7")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "of 0 .py files"),
        ({"a.py": "x = 1"}, "of 1 .py files that are not ignored, 0 mention"),
        ({"a.py": "import runpod_flash"}, r"1 mention runpod_flash or Endpoint \(a.py\)"),
        ({"test_a.py": "import runpod_flash"}, "left out were test_a.py"),
    ],
)
def test_no_endpoints_says_what_was_looked_at(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        built(write(tmp_path, files))


def test_a_broken_file_leaves_the_others(tmp_path: Path) -> None:
    found = built(write(tmp_path, {"a.py": "import runpod_flash\n1/0", "b.py": QUEUE.format(name="f")}))
    assert [each.name for each in found.manifest.endpoints] == ["f"]
    assert [fault.file for fault in found.faults] == ["a.py"]


def test_the_scratch_folder_keeps_itself_out_of_git(project: Path, whole: Built) -> None:
    assert (project / ".flash" / ".gitignore").read_text() == "*\n"
