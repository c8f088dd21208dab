"""A control plane whose store keeps no job, all else as it is: what its journal costs. `python forgetful_plane.py`."""

import asyncio
import sys

from runpod_flash.control_plane import __main__ as program
from runpod_flash.control_plane.groups import Written
from runpod_flash.control_plane.store import Store


class Forgetting:
    """Says of every job that it was written, after the turn of the loop in which it was asked to."""

    def __init__(self) -> None:
        self.asked = None

    def save(self, *_) -> Written:
        """Keep nothing; all that is asked for in one turn is told together, as the store does."""
        if self.asked is None:
            self.asked = Written()
            asyncio.get_running_loop().call_soon(self.tell)
        return self.asked

    def tell(self) -> None:
        """It is over."""
        asked, self.asked = self.asked, None
        asked.resolve(None)


def main():
    """Run it until it is asked to stop."""
    forgetting = Forgetting()
    Store.save_job = lambda store, record, **_: forgetting.save(record)
    Store.save_logs = lambda store, job_id, lines: forgetting.save(job_id)
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
