"""One process runs the control plane of a folder."""

from pathlib import Path

import pytest

from runpod_flash.control_plane.ownership import sole_owner
from runpod_flash.errors import BackendUnavailable
from runpod_flash.state_folder import StateFolder


def test_one_process_owns_the_folder(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "home", "0" * 64, tmp_path / "run")
    state.prepare()
    with sole_owner(state), pytest.raises(BackendUnavailable, match="already runs"), sole_owner(state):
        pass
    with sole_owner(state):
        pass
