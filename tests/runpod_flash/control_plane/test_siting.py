"""What workers of a control plane for its owner alone, and of one for others, may see."""

import sys
from dataclasses import replace
from pathlib import Path

from runpod_flash.control_plane import settings, siting
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.containers import Engine
from runpod_flash.control_plane.launches import Site
from runpod_flash.control_plane.listen import Listen
from runpod_flash.control_plane.sharing import Sharing
from runpod_flash.control_plane.volumes import Volumes
from runpod_flash.state_folder import StateFolder


def site(folder: Path, listen: Listen | None) -> Site:
    state = StateFolder(folder, "0" * 64, folder / "run")
    state.prepare()
    chosen = replace(settings.load({"FLASH_HOME": str(folder)}), listen=listen)
    sharing = Sharing(Blobs(state.blobs), state.plane, megabytes=0)
    engine = Engine.find("none", {}, "x", folder / "containers", for_everybody=False)
    return siting.site_of(chosen, state, engine, Volumes(folder), sharing)


def test_of_the_owner_all_that_is_the_control_planes_is_hidden(tmp_path: Path) -> None:
    found = site(tmp_path, None)
    assert str(tmp_path / "planes") in found.hidden
    assert (found.readonly, found.private, found.must_isolate, found.arena) == ((), None, False, "")


def test_of_others_the_program_cannot_be_changed_either(tmp_path: Path) -> None:
    found = site(tmp_path, Listen("127.0.0.1", 0))
    assert str(Path(sys.prefix).resolve()) in found.readonly
    assert (found.private, found.must_isolate) == (tmp_path, True)
