"""`flash update` in environments of its own: from wheels, folders and indexes, and what is not ours stays out."""

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runpod_flash.release import VERSION
from tests.support.own_wheels import environment_with, own_wheel
from tests.support.packages import make_wheel
from tests.support.place import ROOT, Finished, Place

NEWER = "99.1.0"


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A place without a control plane."""
    return Place.below(tmp_path)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheels of this version and of a newer one, and a preview of the one after."""
    folder = tmp_path_factory.mktemp("wheels")
    for version in (VERSION, NEWER, "100.0rc1"):
        own_wheel(folder, version)
    return folder


@pytest.fixture
def python(tmp_path: Path, wheels: Path) -> str:
    """The interpreter of an environment that has this version from a wheel."""
    return environment_with(tmp_path / "venv", str(wheels / f"runpod_flash-{VERSION}-py3-none-any.whl"))


def flash(here: Place, python: str, *arguments: str) -> Finished:
    """Run the command of that environment."""
    return here.run(["-m", "flash_cli", *arguments], python=python, env={"PYTHONPATH": "", "UV_OFFLINE": "1"})


def version(here: Place, python: str) -> str:
    return flash(here, python, "--version").good().stdout.removeprefix("flash ").strip()


@pytest.mark.slow
def test_the_newest_of_a_folder_is_installed_and_remembered_as_its_source(
    here: Place, python: str, wheels: Path
) -> None:
    done = flash(here, python, "update", "--from", str(wheels)).good()
    assert done.stdout == f"runpod-flash {VERSION} is now {NEWER}\n"
    assert version(here, python) == NEWER
    again = flash(here, python, "update").good()
    assert again.stdout == f"runpod-flash {NEWER} is what {wheels} offers; there is nothing to do\n"
    back = flash(here, python, "update", "-V", VERSION).good()
    assert back.stdout == f"runpod-flash {NEWER} is now {VERSION}\n"
    missing = flash(here, python, "update", "--version", "7.0")
    assert (missing.status, f"has no runpod-flash 7.0; it has 100.0rc1, {NEWER}" in missing.stderr) == (1, True)
    assert version(here, python) == VERSION


@pytest.mark.slow
def test_what_is_not_ours_is_not_installed(here: Place, python: str, tmp_path: Path) -> None:
    other = make_wheel(tmp_path / "other", "runpod-flash", "99.0", module="runpod_flash")
    renamed = own_wheel(tmp_path / "renamed", "99.0")
    renamed = renamed.rename(renamed.with_name("flash-99.0-py3-none-any.whl"))
    broken = tmp_path / "runpod_flash-99.0-py3-none-any.whl"
    broken.write_bytes(b"no archive")
    for source, said in (
        (other, "another program, though it may have the same name; nothing was installed"),
        (broken, "is no wheel"),
        (tmp_path / "nowhere", "is no source; it must be a wheel, a folder of wheels"),
        (renamed.parent, "has no wheel of runpod-flash"),
    ):
        done = flash(here, python, "update", "--from", str(source))
        assert (done.status, said in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    assert version(here, python) == VERSION


@pytest.mark.slow
def test_an_older_one_and_one_for_other_pythons_are_refused(here: Place, python: str, tmp_path: Path) -> None:
    old = flash(here, python, "update", "--from", str(own_wheel(tmp_path / "a", "1.0")))
    assert (old.status, "to go back say --version 1.0" in old.stderr) == (1, True)
    unwanted = flash(here, python, "update", "-V", "98.0", "--from", str(own_wheel(tmp_path / "b", NEWER)))
    assert (unwanted.status, f"offers runpod-flash {NEWER}, not 98.0" in unwanted.stderr) == (1, True)
    alien = flash(here, python, "update", "--from", str(own_wheel(tmp_path / "c", NEWER, pythons=">=3.99")))
    assert (alien.status, "needs Python >=3.99" in alien.stderr) == (1, True)
    assert flash(here, python, "update", "-V", "newest").status == 1
    assert version(here, python) == VERSION


@pytest.mark.slow
def test_a_changed_wheel_of_the_same_version_is_taken_and_one_that_does_not_start_is_named(
    here: Place, python: str, tmp_path: Path
) -> None:
    changed = own_wheel(tmp_path / "a", VERSION, changes={"flash_cli/note.py": '"""New."""\n'})
    assert flash(here, python, "update", "--from", str(changed)).good().stdout.startswith("runpod-flash")
    assert list((tmp_path / "venv").rglob("flash_cli/note.py")) != []
    broken = own_wheel(tmp_path / "b", NEWER, changes={"flash_cli/console.py": "raise RuntimeError('broken')\n"})
    done = flash(here, python, "update", "--from", str(broken))
    assert (done.status, "does not start as it should" in done.stderr, "broken" in done.stderr) == (1, True, True)


@pytest.mark.slow
def test_one_from_an_index_does_not_know_its_source(here: Place, tmp_path: Path, wheels: Path) -> None:
    python = environment_with(tmp_path / "venv", "--find-links", str(wheels), f"runpod-flash=={VERSION}")
    done = flash(here, python, "update")
    assert done.status == 1
    assert "may be another program" in done.stderr
    assert "flash update --from SOURCE" in done.stderr


def test_a_working_copy_is_updated_where_it_is(here: Place) -> None:
    done = here.flash("update")
    assert (done.status, f"working copy of {ROOT}" in done.stderr) == (1, True), done.stderr


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(tmp_path: Path, wheels: Path) -> Iterator[tuple[str, Path]]:
    """A package index over HTTP, and the page of our package."""
    folder = tmp_path / "index"
    page = folder / "simple" / "runpod-flash" / "index.html"
    page.parent.mkdir(parents=True)
    links = []
    for wheel in wheels.iterdir():
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        links.append(f'<a href="../../{wheel.name}#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}">w</a>')
    page.write_text("<html>" + "\n".join(links))
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", page
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_an_index_of_ones_own_is_asked_by_its_url(here: Place, python: str, index: tuple[str, Path]) -> None:
    url, page = index
    text = page.read_text()
    page.write_text(text.replace("#sha256=", "#sha256=0"))
    done = flash(here, python, "update", "--from", f"{url}/simple/")
    assert (done.status, "is not the file that its index announces" in done.stderr) == (1, True), done.stderr
    page.write_text(text)
    assert flash(here, python, "update", "--from", f"{url}/simple").good().stdout.endswith(f"is now {NEWER}\n")
    for wrong, said in ((f"{url}/nowhere", "answers with status 404"), ("http://127.0.0.1:9", "cannot be reached")):
        done = flash(here, python, "update", "--from", wrong)
        assert (done.status, said in done.stderr) == (1, True), done.stderr
    wheel = f"{url}/runpod_flash-{VERSION}-py3-none-any.whl"
    assert flash(here, python, "update", "-V", VERSION, "--from", wheel).good().stdout.endswith(f"is now {VERSION}\n")


@pytest.mark.slow
def test_a_clone_is_built_and_installed(here: Place, tmp_path: Path, wheels: Path) -> None:
    python = environment_with(tmp_path / "venv", str(wheels / f"runpod_flash-{VERSION}-py3-none-any.whl"))
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "flash_cli" / "console.py").write_text('"""Old."""\n' + (site / "flash_cli" / "console.py").read_text())
    done = here.run(["-m", "flash_cli", "update", "--from", str(ROOT)], python=python, env={"PYTHONPATH": ""}).good()
    assert done.stdout == f"runpod-flash {VERSION} is now {VERSION}\n"
    assert "Old." not in (site / "flash_cli" / "console.py").read_text()
