"""Why an endpoint gets each file and package, and what was left out."""

import asyncio
from pathlib import Path

import pytest

from flash_cli.builds import explaining
from flash_cli.builds.building import Built
from flash_cli.builds.explaining import Explained
from runpod_flash.errors import ConfigError
from tests.support.builds import built, write
from tests.support.packages import make_wheel


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Built:
    files = {
        "a.py": """
            import os
            from runpod_flash import Endpoint
            from pkg.inner import x
            @Endpoint(name="infer", dependencies=["numpy"])
            def run(): ...
            @Endpoint(name="other")
            def other(): ...
        """,
        "lb.py": """
            from runpod_flash import Endpoint
            api = Endpoint(name="api")
            @api.get("/a")
            def run(): ...
            two = Endpoint(name="infer2")
            two.get("/a")(run)
        """,
        "pkg/__init__.py": "",
        "pkg/inner.py": "\n\nfrom . import deep\nx = 1\n",
        "pkg/deep.py": "",
        "pkg/data.json": "{}",
        "words.txt": "abc",
        "spare.py": "",
        "requirements.txt": "scipy\n",
        ".gitignore": "*.log\n",
        "a.log": "",
    }  # fmt: skip
    return built(write(tmp_path_factory.mktemp("p"), files))


def explained(built: Built, name: str) -> Explained:
    return asyncio.run(explaining.explain(built, name))


def test_every_file_has_its_reason(whole: Built) -> None:
    found = {each.what: (each.why, each.size) for each in explained(whole, "infer").files}
    assert found["a.py"][0] == "defines run"
    assert found["pkg/inner.py"] == ("imported by a.py line 4", 27)
    assert found["pkg/__init__.py"][0] == "imported by a.py line 4"
    assert found["pkg/deep.py"][0] == "imported by pkg/inner.py line 3"
    assert found["pkg/data.json"][0] == "lies in a package that is imported"
    assert found["words.txt"] == ("a file of the project that is no code: the function may open it", 3)


def test_every_package_has_its_reason(whole: Built) -> None:
    found = {each.what: each.why for each in explained(whole, "infer").packages}
    assert found == {"numpy": "dependencies= of infer", "scipy": "requirements.txt line 1"}
    api = {each.what: each.why for each in explained(whole, "api").packages}
    assert api["fastapi"] == "serving its routes needs it"


def test_what_was_left_out_has_its_rule(whole: Built) -> None:
    found = {each.what: each.why for each in explained(whole, "api").left_out}
    assert found["a.log"] == ".gitignore line 1: *.log"
    assert found["spare.py"] == "code that nothing which travels imports"
    assert "words.txt" not in found


def test_it_is_found_by_the_name_of_its_function_too(whole: Built) -> None:
    assert explained(whole, "run").endpoint.name == "infer"
    with pytest.raises(ConfigError, match="did you mean 'other'"):
        explained(whole, "othr")


def test_people_and_programs_are_told_the_same(whole: Built) -> None:
    found = explained(whole, "infer")
    text = "\n".join(explaining.lines(found))
    assert all(each.what in text and each.why in text for each in (*found.files, *found.packages, *found.left_out))
    assert found.to_json()["files"][0] == {"what": "a.py", "why": "defines run", "size": found.files[0].size}


def test_packages_that_are_needed_by_others_say_by_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "leaf", "1.0")
    make_wheel(wheels, "top", "1.0", ["leaf"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    text = """
        from runpod_flash import Endpoint
        @Endpoint(name="f", dependencies=["top"])
        def f(): ...
    """
    found = built(write(tmp_path / "p", {"a.py": text}), locked=True)
    make_wheel(wheels, "leaf", "2.0")
    packages = {each.what: each.why for each in explained(found, "f").packages}
    assert packages == {"leaf==1.0": "needed by top", "top==1.0": "top (dependencies= of f)"}
    for wheel in wheels.iterdir():
        wheel.unlink()
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another"))
    packages = {each.what: each.why for each in explained(found, "f").packages}
    assert packages["leaf==1.0"] == "needed by a package of this list"
