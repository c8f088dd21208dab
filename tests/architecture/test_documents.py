"""The documents are true: code runs as pasted, paths, targets, settings and versions exist."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from runpod_flash.control_plane.limits import Limits
from runpod_flash.release import VERSION
from tests.support.place import ROOT, Place

PATTERNS = ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/*.md")
DOCUMENTS = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
RUN = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OF_WORKERS = {"FLASH_SAME_MACHINE", "FLASH_RESOURCE_NAME"}  # which workers are told, and nobody sets
SETTING = re.compile(r"\bFLASH_[A-Z][A-Z_]*[A-Z]\b")


def code_blocks() -> list[tuple[str, str]]:
    """Name and text of each Python block that a reader may paste: of the README and the guides."""
    blocks = []
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))):
        blocks += [(f"{path.stem}-{number}", text) for number, text in enumerate(RUN.findall(path.read_text()), 1)]
    return blocks


def settings_read() -> set[str]:
    """The FLASH_ variables that the settings files read, but for the bounds, of which each has its own."""
    found: set[str] = set()
    for folder in ("runpod_flash", "worker_runtime", "cli/flash_cli"):
        for path in (ROOT / folder).rglob("settings.py"):
            found |= set(SETTING.findall(path.read_text()))
    return found


def _marks(name: str) -> list[pytest.MarkDecorator]:
    return [] if name.startswith("README") else [pytest.mark.slow]


BLOCKS = [pytest.param(name, text, id=name, marks=_marks(name)) for name, text in code_blocks()]


@pytest.mark.parametrize(("name", "text"), BLOCKS)
def test_code_runs_as_pasted(shared_place: Place, name: str, text: str) -> None:
    shared_place.run_script(text, name=f"{name.lower().replace('-', '_')}.py", timeout_s=120).good()


def test_each_guarantee_names_a_test_that_there_is() -> None:
    rows = re.findall(
        r"^\| (?!what|who|---)(.*) \|$", (ROOT / "docs/guarantees.md").read_text().split("## Figures")[0], re.MULTILINE
    )
    assert rows
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row.split(" | ")[-1])
        assert named, f"no test: {row}"
        for path, test in named:
            text = (ROOT / path).read_text()
            assert re.search(rf"\b(def|class) {test}\b", text) if test else "def test_" in text, f"{path}::{test}"


def test_the_newest_version_of_the_changelog_is_the_package_s() -> None:
    versions = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == VERSION


def test_the_architecture_is_one_that_can_be_kept_true() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(text.splitlines()) <= 150
    paths = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|sql|md|toml))`", text))
    assert paths
    assert sorted(path for path in paths if not _exists(path)) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)|<img[^>]* src=\"([^\"]+)\"", path.read_text())
    local = [link or image for link, image in links if not re.match(r"[a-z]+:", link or image)]
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for path in DOCUMENTS for name in re.findall(r"`make ([a-z-]+)", path.read_text())}
    assert named <= targets


def test_settings_that_documents_name_are_those_that_are_read() -> None:
    documents = ("README.md", "docs/settings.md", "docs/deployed-calls.md")
    named = set(SETTING.findall("".join((ROOT / name).read_text() for name in documents)))
    bounds = {f"FLASH_{bound.name.upper()}" for bound in fields(Limits)}
    assert named - settings_read() - bounds == set()
    assert settings_read() - named - bounds == OF_WORKERS


def _exists(path: str) -> bool:
    return any((ROOT / base / path).exists() for base in ("", "runpod_flash", "worker_runtime", "cli/flash_cli"))
