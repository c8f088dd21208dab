"""The port of the dev server."""

import socket

import pytest

from flash_cli.dev.serving import TRIES, listening
from runpod_flash.errors import BackendUnavailable, ConfigError


def taken(count: int) -> tuple[int, list[socket.socket]]:
    """So many ports in a row that somebody listens on."""
    for _ in range(50):
        found: list[socket.socket] = [socket.create_server(("127.0.0.1", 0))]
        first = found[0].getsockname()[1]
        try:
            for port in range(first + 1, first + count):
                found.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            for each in found:
                each.close()
            continue
        return first, found
    raise AssertionError("no ports in a row are free")


def test_a_port_that_is_taken_is_passed_over() -> None:
    first, sockets = taken(2)
    try:
        with listening("localhost", first) as found:
            ports = {each.getsockname()[1] for each in found}
            assert len(ports) == 1
            assert first + 2 <= ports.pop() < first + TRIES
    finally:
        for each in sockets:
            each.close()


def test_no_free_port_is_an_error_that_names_them() -> None:
    first, sockets = taken(TRIES)
    try:
        with (
            pytest.raises(BackendUnavailable, match=rf"{first} to {first + TRIES - 1} .*--port"),
            listening("127.0.0.1", first),
        ):
            pass
    finally:
        for each in sockets:
            each.close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_here_is_an_error(host: str) -> None:
    with pytest.raises(ConfigError, match="--host"), listening(host, 8888):
        pass
