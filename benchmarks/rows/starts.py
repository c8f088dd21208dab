"""Cold starts: of everything, of a worker, of one that needs a heavy module, of one in a new environment."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.measures import Figure, Goal
from benchmarks.scene import Home, NotMeasured, RowFailed, Scene

RESULT = b"RESULT 42"
PREPARED_S, HELD_S = 60.0, 4.0
REQUIREMENTS = ("requests==2.32.3", "requests==2.31.0")


def script(scene: Scene) -> Iterator[Figure]:
    """Nothing runs: from the start of a script's process to the result that it prints."""
    ours, theirs = [], []
    for _ in range(scene.sizes.starts):
        home = scene.home()
        ours.append(_until_result(scene, ["flash_script.py"], home.env()))
        home.stop()
        theirs.append(_until_result(scene, ["ray_script.py", str(scene.folder / f"r{scene.number()}")], scene.env()))
    yield Figure(
        "nothing running → first result of a script", "s", tuple(ours), "Ray", tuple(theirs), Goal(0.25),
        note="from the start of the interpreter; a new FLASH_HOME each time",
    )  # fmt: skip


def _until_result(scene: Scene, program: Sequence[str], env: Mapping[str, str]) -> float:
    command = [scene.python, str(scene.project / program[0]), *program[1:]]
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=scene.project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        took = time.perf_counter() - start
        if line.strip() != RESULT:
            raise RowFailed(f"{program[0]}: {process.stderr.read().decode(errors='replace')[-600:]}")
    return took


def worker(scene: Scene) -> Iterator[Figure]:
    """The server is up and has no worker: until the result of a call, with and without a fork server."""
    forked, spawned, theirs = [], [], []
    plain, without = scene.home(), scene.home()
    with (
        plain.calls("nothing", 1, 1) as fork,
        without.calls("nothing", 1, 1, env={"FLASH_FORK": "0"}) as spawn,
        scene.ray(0) as ray,
    ):
        for turn in range(scene.sizes.turns):
            forked.append(fork.ask("first", name=f"fresh-{turn}"))
            spawned.append(spawn.ask("first", name=f"fresh-{turn}"))
            theirs.append(ray.ask("first", turn=turn))
    peer = "Ray fresh worker"
    note = "Ray's worker is made new by another `runtime_env` with `env_vars`"
    yield Figure(
        "server up, no worker → first result (forked)", "s", tuple(forked), peer, tuple(theirs), Goal(0.1), note
    )
    yield Figure("server up, no worker → first result (spawned)", "s", tuple(spawned), peer, tuple(theirs), Goal(0.3))


def heavy_module(scene: Scene) -> Iterator[Figure]:
    """The second worker of a function that imports torch."""
    command = [scene.python, "-c", "import torch"]
    if subprocess.run(command, env=scene.env(), capture_output=True, check=False).returncode:
        raise NotMeasured("no CPU build of torch is to be had through pip's find-links")
    ours, theirs, home = [], [], scene.home()
    with home.calls("torch_draw", 0, 2) as flash:
        for turn in range(min(3, scene.sizes.starts)):
            first = flash.ask("first_worker", name=f"torch-{turn}")
            wait_for_fork_servers(home, turn + 1)
            ours.append(flash.ask("second_worker", name=f"torch-{turn}", first=first, held_s=HELD_S))
            start = time.perf_counter()
            scene.run(command)
            theirs.append(time.perf_counter() - start)
    yield Figure(
        "second worker of a function that imports torch → first result", "s", tuple(ours), '`python -c "import torch"`',
        tuple(theirs), Goal(0.1), note="the first one has told what it imported, and a fork server has done the same",
    )  # fmt: skip


def wait_for_fork_servers(home: Home, number: int) -> None:
    """Until so many of them have imported torch, as the control plane's log says."""
    end = time.monotonic() + PREPARED_S
    while sum("torch imported" in line for line in home.log().splitlines()) < number:
        if time.monotonic() > end:
            raise RowFailed(f"no fork server has imported torch after {PREPARED_S:.0f} s: {home.log()[-600:]}")
        time.sleep(0.05)


def environment(scene: Scene) -> Iterator[Figure]:
    """The server is up, packages are in the cache: until the result of a call that needs a new environment."""
    requirement = next(each for each in REQUIREMENTS if not _has(scene, each))
    _both_ways(scene, requirement)  # fills the caches
    turns = [_both_ways(scene, requirement) for _ in range(min(2, scene.sizes.starts))]
    ours, theirs = zip(*turns, strict=True)
    yield Figure(
        f"new environment [{requirement}], warm package cache → first result", "s", ours, "Ray `runtime_env`", theirs,
        Goal(0.15), note="a new state folder and a new cluster each time; both know the server before",
    )  # fmt: skip


def _has(scene: Scene, requirement: str) -> bool:
    """Whether the caller's own environment has it, so that there would be nothing to install."""
    name, _, version = requirement.partition("==")
    asked = [scene.python, "-c", f"from importlib.metadata import version as of; print(of({name!r}))"]
    try:
        return scene.run(asked).strip() == version
    except RowFailed:
        return False


def _both_ways(scene: Scene, requirement: str) -> tuple[float, float]:
    home, version = scene.home(), requirement.partition("==")[2]
    with home.calls("installed", 0, 1) as flash:
        flash.ask("provision", names=["other"])  # the server is up
        ours = flash.ask("first_of_all", name="installed", dependencies=[requirement])
    home.stop()
    with scene.ray(0) as ray:
        ray.ask("first", turn=0)
        theirs = ray.ask("first_of_all", requirement=requirement)
    for found in (ours["value"], theirs["value"]):
        if found != version:
            raise RowFailed(f"the function saw {found}, not {version}")
    return ours["seconds"], theirs["seconds"]
