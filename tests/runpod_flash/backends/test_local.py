"""The way to the embedded control plane, with the real program."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from runpod_flash.backends import daemon, local
from runpod_flash.errors import BackendUnavailable
from runpod_flash.settings import Settings
from tests.support.place import Place


def settings_of(place: Place) -> Settings:
    return Settings(home=place.home, environ=place.env())


def test_it_starts_on_the_first_connection_and_is_shared(place: Place) -> None:
    settings = settings_of(place)
    data = os.urandom(300_000)
    sha256 = hashlib.sha256(data).hexdigest()

    async def connect() -> None:
        backend = await local.connect(settings, place.project)
        assert (backend.shares_machine, backend.default_queue_delay) == (True, 0.0)
        assert await backend.find("nothing") is None
        await backend.put_value(sha256, data)
        assert await backend.get_value(sha256) == data

    asyncio.run(connect())
    first = daemon.running(local.state_folder(settings))
    asyncio.run(connect())
    assert daemon.running(local.state_folder(settings)) == first is not None

    async def survive() -> None:
        backend = await local.connect(settings, place.project)
        assert await asyncio.to_thread(daemon.stop, local.state_folder(settings))
        assert await backend.get_value(sha256) == data, "the next request starts it again, with its state"

    asyncio.run(survive())
    second = daemon.running(local.state_folder(settings))
    assert second is not None
    assert second != first
    assert daemon.stop(local.state_folder(settings))


def test_its_reason_not_to_start_is_told(place: Place) -> None:
    settings = settings_of(place)
    state = local.state_folder(settings)
    state.prepare()
    state.database.write_bytes(b"this is no database" * 1000)
    with pytest.raises(BackendUnavailable, match=r"could not start: .*database"):
        asyncio.run(local.connect(settings, place.project))


def test_a_home_that_cannot_be_written_is_named(place: Place) -> None:
    settings = Settings(home=Path("/proc/flash"), environ=place.env())
    with pytest.raises(BackendUnavailable, match="FLASH_HOME"):
        asyncio.run(local.connect(settings, place.project))
