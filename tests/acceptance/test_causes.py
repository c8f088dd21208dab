"""A job that waits says why, to whoever asks."""

from tests.support.place import Place

SCRIPT = """
import sys, time
from pathlib import Path
from runpod_flash import Endpoint, errors
@Endpoint(name="busy", cpu="cpu3c-1-2", workers=1)
def busy(folder):
    (folder / "runs").touch()
    while not (folder / "go").exists(): time.sleep(0.02)
@Endpoint(name="paused", cpu="cpu3c-1-2", workers=(0, 0))
def paused(): pass
@Endpoint(name="much", gpu="NVIDIA L4", gpu_count=8)
def much(): pass
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    first, second = busy.spawn(folder), busy.spawn(folder)
    while not (folder / "runs").exists(): time.sleep(0.02)
    while first.cause() is not None: time.sleep(0.02)
    print("second:", second.cause())
    third = paused.spawn()
    print("third:", third.cause())
    fourth = much.spawn()
    try: fourth.result()
    except errors.JobError as error: print("fourth:", type(error).__name__, error)
    print("fourth:", fourth.cause())
    third.cancel()
    (folder / "go").touch()
    second.wait()
    print("in the end:", second.cause())
"""


def test_each_waiting_job_says_why(place: Place) -> None:
    done = place.run_script(
        SCRIPT, arguments=[str(place.project)], env={"FLASH_FAKE_GPUS": "NVIDIA L4:24,NVIDIA L4:24"}
    ).good()
    said = done.stdout.splitlines()
    assert said[0] == "second: next in line, 1 worker busy"
    assert said[1] == "third: the endpoint has workers=0"
    assert "8" in said[2]
    assert "2" in said[2]
    assert said[3].removeprefix("fourth: ") in said[2]
    assert said[4] == "in the end: None"
