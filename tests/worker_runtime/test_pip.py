"""pip as the slower way: what it is asked, and what its failures are told as."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.packages import base_env, make_broken_source, make_caller, make_wheel
from worker_runtime.install import BuildFailed, InstallFailed, NoSolution
from worker_runtime.pip import Pip
from worker_runtime.wire.specs import PackageIndex


def plan(folder: Path, *requirements: str, index: PackageIndex | None = None, **how: object) -> tuple[str, ...]:
    """A plan for this interpreter, as if nothing was installed."""
    for name in ("work", "empty"):
        (folder / name).mkdir(exist_ok=True)
    local = index or PackageIndex(find_links=(str(folder / "wheels"),), no_index=True)
    pip = Pip(base_env(folder), wheels_only=bool(how.get("wheels_only")))
    return asyncio.run(pip.plan(sys.executable, requirements, local, work=folder / "work", installed=folder / "empty"))


def test_a_plan_is_exact_and_nothing_is_installed(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "leaf", "1.0")
    direct = make_wheel(tmp_path / "elsewhere", "direct", "3.0")
    make_wheel(wheels, "top", "2.0", ["leaf"])
    by_url = f"direct @ {direct.as_uri()}"
    assert plan(tmp_path, "top", by_url) == (
        f"direct @ {direct.as_uri()}",
        "leaf==1.0",
        "top==2.0",
    )
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize(
    ("requirement", "kind", "said"),
    [
        ("leaf>9", NoSolution, "no versions satisfy leaf>9; .*pip says:"),
        ("broken", BuildFailed, "broken could not be built"),
    ],
)
def test_failures_are_told_apart(tmp_path: Path, requirement: str, kind: type[Exception], said: str) -> None:
    make_wheel(tmp_path / "wheels", "leaf", "1.0")
    make_broken_source(tmp_path / "wheels", "broken", "1.0")
    with pytest.raises(kind, match=f"(?s){said}"):
        plan(tmp_path, requirement)


def test_nothing_is_built_where_only_wheels_are_wanted(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    make_broken_source(tmp_path / "wheels", "broken", "1.0", backend=f"open({str(ran)!r}, 'w')")
    with pytest.raises(NoSolution):
        plan(tmp_path, "broken", wheels_only=True)
    assert not ran.exists()


@pytest.mark.slow
def test_an_index_that_does_not_answer_is_no_wrong_version(tmp_path: Path) -> None:
    nowhere = PackageIndex(index_url="http://127.0.0.1:9/simple")
    with pytest.raises(InstallFailed, match="the package index did not answer") as caught:
        plan(tmp_path, "leaf", index=nowhere)
    assert type(caught.value) is InstallFailed


def test_without_any_pip_it_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = make_caller(tmp_path / "bare", sys.executable)  # uv makes it without pip
    monkeypatch.setattr(sys, "executable", bare)
    with pytest.raises(InstallFailed, match=f"neither {bare} nor {bare} has; install pip"):
        plan(tmp_path, "leaf")
