"""Requests that a platform holds: how many a second the client makes, beside plain httpx."""

import json
from collections.abc import Iterator

from benchmarks.measures import Figure, Goal
from benchmarks.scene import Scene, free_port, last_line

MANY = (64, 256, 512)


def held(scene: Scene) -> Iterator[Figure]:
    """Half a second each, so many at once."""
    rounds = min(3, scene.sizes.turns)
    for many in (each for each in MANY if each <= scene.sizes.gathered):
        port = free_port()
        env = scene.env({"FLASH_TARGET": f"http://127.0.0.1:{port}", "FLASH_API_KEY": "key"})
        program = str(scene.project / "held_requests.py")
        said = scene.run([scene.python, program, str(port), str(many), str(rounds)], env)
        rates = json.loads(last_line(said, "RESULT"))
        yield Figure(
            f"{many} requests of half a second at once", "requests/s", tuple(rates["ours"]), "httpx",
            tuple(rates["httpx"]), Goal(1.0, True),
        )  # fmt: skip
