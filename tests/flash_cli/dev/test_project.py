"""Edits are taken up one after the other; calls wait; what is broken does not stop the rest."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flash_cli.builds.manifest import BuildManifest, BuiltEndpoint
from flash_cli.dev.project import LiveProject
from flash_cli.dev.stamps import Stamps
from flash_cli.dev.state import State
from runpod_flash.errors import BackendUnavailable, ConfigError, FlashError, InstallError
from tests.support.balanced import until
from worker_runtime.wire.interface import Interface


@dataclass(frozen=True)
class Fault:
    """A file that cannot be used."""

    file: str
    message: str


@dataclass(frozen=True)
class Built:
    """A build."""

    manifest: BuildManifest
    artifacts: Mapping[str, Path]
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...] = ()


class Scene:
    """A project of files `NAME.py`, each with an endpoint whose code is the file's text; "bad" breaks it."""

    def __init__(self, folder: Path, **files: str) -> None:
        self.folder = folder
        self.builds: list[Built | None] = []
        self.deployed: list[dict[str, str]] = []
        self.refusal: FlashError | None = None
        self.refused_code = ""
        self.told: list[tuple[State, State]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        for name, text in files.items():
            self.edit(name, text)
        self.project = LiveProject(self._build, self._deploy, self._look, self)

    def edit(self, name: str, text: str) -> None:
        """Write a file."""
        (self.folder / f"{name}.py").write_text(text)

    async def _build(self, known: Built | None) -> Built:
        await self.gate.wait()
        self.builds.append(known)
        texts = {path.stem: path.read_text() for path in sorted(self.folder.glob("*.py"))}
        if not texts:
            raise ConfigError("there are no endpoints")
        made = tuple(_endpoint(name, text) for name, text in texts.items() if "bad" not in text)
        faults = tuple(Fault(f"{name}.py", f"line 1: {text}") for name, text in texts.items() if "bad" in text)
        artifacts = {each.artifact or "": self.folder / each.file for each in made}
        return Built(BuildManifest("app", made), artifacts, faults)

    async def _deploy(self, manifest: BuildManifest, artifacts: Mapping[str, Path]) -> Mapping[str, str]:
        codes = {each.name: each.artifact or "" for each in manifest.endpoints}
        if self.refusal is not None:
            raise self.refusal
        for name, code in codes.items():
            if self.refused_code and self.refused_code in code:
                raise InstallError(f"endpoint '{name}': no such package")
        assert set(codes.values()) <= artifacts.keys()
        self.deployed.append(codes)
        return {name: f"id-{name}" for name in codes}

    def _look(self) -> Stamps:
        return Stamps.of(self.folder, sorted(self.folder.glob("*.py")))

    def taken_up(self, before: State, now: State, warnings: Sequence[str], took_s: float) -> None:
        self.told.append((before, now))


def _endpoint(name: str, text: str) -> BuiltEndpoint:
    interface = Interface({"": ()})
    return BuiltEndpoint(name, "function", f"{name}.py", name, {"type": "QUEUE"}, artifact=text, interface=interface)


def play(test: Callable[[Scene], Awaitable[None]], folder: Path, **files: str) -> None:
    """Start the project, let the test edit it, end it."""

    async def play() -> None:
        scene = Scene(folder, **files)
        await scene.project.start()
        task = asyncio.create_task(scene.project.run())
        try:
            await test(scene)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(play(), 30))


def test_a_call_after_an_edit_finds_the_new_code_without_being_told(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        assert scene.deployed == [{"a": "1"}]
        scene.edit("a", "22")
        state = await scene.project.settled()
        assert state.table.endpoints["a"].artifact == "22"
        assert scene.deployed[-1] == {"a": "22"}
        await scene.project.settled()
        assert len(scene.builds) == 2
        assert scene.builds[1] is not None

    play(test, tmp_path, a="1")


def test_an_edit_during_a_build_is_taken_up_by_the_next(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        scene.gate.clear()
        scene.edit("a", "22")
        first = asyncio.create_task(scene.project.settled())
        await until(lambda: scene.project.state.table.endpoints["a"].artifact == "1")
        scene.edit("a", "333")
        second = asyncio.create_task(scene.project.settled())
        await asyncio.sleep(0)
        assert not first.done()
        scene.gate.set()
        await first
        assert (await second).table.endpoints["a"].artifact == "333"

    play(test, tmp_path, a="1")


def test_files_that_change_nothing_are_not_built(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        (scene.folder / "note.txt").write_text("1")
        await scene.project.settled()
        scene.project.notice()
        await scene.project.settled()
        assert len(scene.builds) == 1

    play(test, tmp_path, a="1")


def test_endpoints_come_and_go_with_their_files(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        scene.edit("b", "1")
        assert (await scene.project.settled()).table.endpoints.keys() == {"a", "b"}
        (scene.folder / "a.py").unlink()
        assert (await scene.project.settled()).table.endpoints.keys() == {"b"}
        assert scene.deployed[-1] == {"b": "1"}

    play(test, tmp_path, a="1")


def test_a_broken_file_keeps_its_last_code_on_the_target_and_is_mended(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        scene.edit("a", "bad name")
        scene.edit("b", "222")
        state = await scene.project.settled()
        assert state.broken == {"a": "a.py cannot be used: line 1: bad name"}
        assert state.files == {"a.py": "line 1: bad name"}
        assert scene.deployed[-1] == {"a": "1", "b": "222"}
        scene.edit("a", "33")
        state = await scene.project.settled()
        assert (state.broken, state.files) == ({}, {})
        assert scene.deployed[-1] == {"a": "33", "b": "222"}

    play(test, tmp_path, a="1", b="1")


def test_an_endpoint_that_the_target_refuses_stays_as_it_was(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        scene.refused_code = "no-such-package"
        scene.edit("a", "no-such-package")
        scene.edit("b", "2")
        state = await scene.project.settled()
        assert list(state.broken) == ["a"]
        assert "no such package" in state.broken["a"]
        assert scene.deployed[-1] == {"a": "1", "b": "2"}
        scene.edit("a", "3")
        assert (await scene.project.settled()).broken == {}
        assert scene.deployed[-1] == {"a": "3", "b": "2"}

    play(test, tmp_path, a="1", b="1")


@pytest.mark.parametrize("error", [BackendUnavailable("away"), ConfigError("all is wrong")])
def test_a_problem_of_all_is_kept_until_it_is_gone(tmp_path: Path, error: FlashError) -> None:
    async def test(scene: Scene) -> None:
        scene.refusal = error
        scene.edit("a", "22")
        assert (await scene.project.settled()).problem == str(error)
        assert scene.project.awaits_target is isinstance(error, BackendUnavailable)
        scene.refusal = None
        scene.project.notice()
        state = await scene.project.settled()
        assert state.problem == ""
        assert not scene.project.awaits_target
        assert scene.deployed[-1] == {"a": "22"}

    play(test, tmp_path, a="1")


def test_nothing_to_serve_at_the_start_is_an_error(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        raise AssertionError("it has started")

    with pytest.raises(ConfigError, match="no endpoints"):
        play(test, tmp_path)


def test_without_reloading_edits_are_left_alone(tmp_path: Path) -> None:
    async def test() -> None:
        scene = Scene(tmp_path, a="1")
        project: Any = LiveProject(scene._build, scene._deploy, scene._look, scene, reloads=False)
        await project.start()
        scene.edit("a", "2")
        assert (await project.settled()).table.endpoints["a"].artifact == "1"

    asyncio.run(asyncio.wait_for(test(), 30))


def test_other_ids_replace_the_old_ones(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        before = scene.project.state
        scene.project.moved({"a": "new"})
        assert scene.project.state == replace(before, ids={"a": "new"})

    play(test, tmp_path, a="1")
