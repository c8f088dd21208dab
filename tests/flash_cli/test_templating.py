"""The files of a new project are whole, and what they say of us is true."""

import tomllib

import pytest

from flash_cli import templating
from tests.support.place import ROOT


@pytest.mark.parametrize("app", ["demo", "My.app-", "1"])
def test_nothing_is_left_to_fill_in(app: str) -> None:
    files = templating.rendered(app)
    assert set(files) == set(templating.FILES)
    assert [name for name, text in files.items() if "{{" in text or not text.endswith("\n")] == []
    for name, text in files.items():
        if name.endswith(".py"):
            compile(text, name, "exec")
    made = tomllib.loads(files["pyproject.toml"])
    assert made["tool"]["flash"]["app"] == app
    assert made["project"]["name"] == app.strip("._-")


def test_the_pythons_are_ours() -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert ours == templating.REQUIRES_PYTHON


def test_no_template_is_forgotten() -> None:
    there = {path.name for path in (ROOT / "cli/flash_cli/templates").iterdir()}
    assert there == {f"{template}.tmpl" for template in templating.FILES.values()}


def test_the_package_of_the_same_name_on_an_index_is_not_asked_for() -> None:
    files = templating.rendered("demo")
    assert tomllib.loads(files["pyproject.toml"])["project"]["dependencies"] == []
    asked = [line for line in files["requirements.txt"].splitlines() if line and not line.startswith("#")]
    assert asked == []
