"""What a build ships is what runs: files beside code, code that is imported, routes of one file, classes, locks."""

import pytest

from tests.support.deployments import Project
from tests.support.packages import make_wheel
from tests.support.place import Place

WORK = """
    from pathlib import Path
    from runpod_flash import Endpoint
    from words.count import count

    HERE = Path(__file__).parent

    @Endpoint(name="look", cpu="cpu3c-1-2", dependencies=["flashtop"])
    def process(name: str) -> dict:
        import flashtop, flashleaf
        there = sorted(str(path.relative_to(HERE)) for path in HERE.rglob("*") if path.is_file())
        files = [path for path in there if "__pycache__" not in path]
        return {"n": count(), "text": (HERE / name).read_text(), "files": files, "leaf": flashleaf.VERSION}
"""
OTHER = """
    from runpod_flash import Endpoint

    one, two = Endpoint(name="one", cpu="cpu3c-1-2"), Endpoint(name="two", cpu="cpu3c-1-2")

    @one.get("/x")
    def process(): return "one"

    @two.get("/x")
    def again(): return "two"

    @Endpoint(name="other", cpu="cpu3c-1-2")
    def other(): return "a function of another file"
"""


COUNT = """
    from pathlib import Path
    def count(): return len(Path(__file__).with_name("all.txt").read_text())
"""


@pytest.mark.slow
def test_what_is_built_is_what_runs(place: Place) -> None:
    wheels = place.project / "wheels"
    make_wheel(wheels, "flashleaf", "1.0")
    make_wheel(wheels, "flashtop", "1.0", ["flashleaf"])
    project = Project.of(
        place, "shop", work=WORK, others=OTHER, unused="import not_there", test_x="import runpod_flash"
    )
    env = {"PIP_FIND_LINKS": str(wheels)}
    project = Project(place, project.folder, env)
    for name, text in {
        "words/__init__.py": "",
        "words/count.py": COUNT,
        "words/all.txt": "four",
        "data/top.md": "# text",
        ".env.production": "KEY=1",
        ".gitignore": "*.log\n",
        "data/x.log": "",
        "data/.flashignore": "big.bin\n",
        "data/big.bin": "",
    }.items():
        place.write(f"shop/{name}", text)
    endpoints = project.deploy()
    make_wheel(wheels, "flashleaf", "2.0")
    assert project.call(endpoints["look"], {"name": "data/top.md"}) == {
        "n": 4,
        "text": "# text",
        "files": ["data/top.md", "words/__init__.py", "words/all.txt", "words/count.py", "work.py"],
        "leaf": "1.0",
    }
    assert project.get(endpoints["one"], "/x").json() == "one"
    assert project.get(endpoints["two"], "/x").json() == "two"
    assert project.call(endpoints["other"], {}) == "a function of another file"
