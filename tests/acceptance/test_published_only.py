"""The list of what needs more than the published API is true: each name is that of a test, with a reason."""

import subprocess
import sys

from tests.acceptance.published_only import REASONS
from tests.support.place import ROOT


def collected() -> set[str]:
    """The acceptance tests by file and name, with their parameters and without."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/acceptance"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    names = {line.removeprefix("tests/acceptance/") for line in listed.splitlines() if "::" in line}
    return names | {name.partition("[")[0] for name in names}


def test_each_listed_test_exists_and_has_a_reason() -> None:
    names = collected()
    assert "test_published_only.py::test_each_listed_test_exists_and_has_a_reason" in names
    assert sorted(set(REASONS) - names) == []
    assert all(len(reason) > 20 for reason in REASONS.values())
