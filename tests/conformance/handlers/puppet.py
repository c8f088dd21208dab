"""A worker without a will of its own: it says with which variables it was started. The test speaks for it."""

import json
import os
import time
from pathlib import Path

folder = Path(os.environ["PUPPET_FOLDER"])
(folder / f"{os.getpid()}.tmp").write_text(json.dumps(dict(os.environ)))
(folder / f"{os.getpid()}.tmp").rename(folder / f"{os.getpid()}.json")
while True:
    time.sleep(60)
