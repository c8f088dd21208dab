"""Dependencies: on top of the caller's packages where they fit, apart from them where they do not."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.nobody import needs_root, place_of_nobody, run_as_nobody
from tests.support.packages import make_wheel
from tests.support.place import Place

pytestmark = pytest.mark.slow


def test_two_endpoints_with_conflicting_versions_of_one_package(shared_place: Place) -> None:
    script = """
import asyncio
from runpod_flash import Endpoint
@Endpoint(name="six-old", cpu="cpu3c-1-2", dependencies=["six==1.16.0"])
def old():
    import six
    return six.__version__
@Endpoint(name="six-new", cpu="cpu3c-1-2", dependencies=["six==1.17.0"])
def new():
    import six
    return six.__version__
async def main():
    print(*await asyncio.gather(old(), new()))
asyncio.run(main())
"""
    done = shared_place.run_script(script, timeout_s=180).good()
    assert done.stdout.split() == ["1.16.0", "1.17.0"]


def test_a_caller_whose_numpy_differs_from_what_a_dependency_wants(shared_place: Place, tmp_path: Path) -> None:
    python = shared_place.venv(tmp_path / "caller", ["numpy==1.26.4"])
    script = """
import asyncio, numpy
from runpod_flash import Endpoint
@Endpoint(name="numpy-two", cpu="cpu3c-1-2", dependencies=["numpy>=2.1"])
def theirs():
    import numpy
    return numpy.__version__, float(numpy.ones(3).sum())
@Endpoint(name="numpy-own", cpu="cpu3c-1-2", dependencies=["scipy"])
def ours():
    import numpy, scipy.linalg
    return numpy.__version__, float(scipy.linalg.det(numpy.eye(3)))
async def main():
    print(*await asyncio.gather(theirs(), ours()))
asyncio.run(main())
assert numpy.__version__ == "1.26.4"
"""
    done = shared_place.run_script(script, python=python, timeout_s=300).good()
    assert done.stdout.startswith("('2.")
    assert "('1.26.4', 1.0)" in done.stdout
    assert "separate environment" in done.stderr


def test_a_local_folder_of_wheels_through_pips_configuration(shared_place: Place, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "only-here", "3.1")
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nfind-links = {wheels}\n")
    script = """
from runpod_flash import Endpoint
@Endpoint(name="wheels", cpu="cpu3c-1-2", dependencies=["only-here>=3"])
def f():
    import only_here
    return only_here.VERSION
print(f.remote())
"""
    done = shared_place.run_script(
        script, env={"PIP_CONFIG_FILE": str(configuration), "PIP_FIND_LINKS": ""}, timeout_s=180
    )
    assert done.good().stdout.strip() == "3.1"


HELLO = """
import subprocess
from runpod_flash import Endpoint, errors
@Endpoint(name="hello", cpu="cpu3c-1-2", system_dependencies=["hello"])
def f(): return subprocess.run(["hello"], capture_output=True, text=True).stdout.strip()
try:
    print(f.remote())
except errors.InstallError as error:
    print("refused", error)
"""


@needs_root
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
def test_system_dependencies_are_installed_for_root_and_refused_for_others_with_the_command(place: Place) -> None:
    subprocess.run(["apt-get", "remove", "-y", "-q", "hello"], capture_output=True, check=False)
    with place_of_nobody() as (other, python):
        other.write("script.py", HELLO)
        asked = run_as_nobody(other, python, "script.py")
        assert asked.stdout.startswith("refused"), asked.stderr
        assert "apt-get install" in asked.stdout
        assert "hello" in asked.stdout
        assert run_as_nobody(other, python, "-m", "flash_cli", "server", "stop").returncode == 0
    done = place.run_script(HELLO, env={"FLASH_ALLOW_APT": "1"}, timeout_s=180).good()
    assert done.stdout.strip() == "Hello, world!"
