"""Runs programs that ship code, and interpreters that have never seen these programs and run what was shipped."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.support.place import ROOT

SHIP = '''
import json as _json, pathlib as _pathlib, sys as _sys
from runpod_flash.shipping import Shipper as _Shipper
from worker_runtime.wire.specs import EnvironmentRequest as _Request

_shipper = _Shipper()

def _ship(target, name="f", args=(), kwargs=None, data=True):
    """Encode arguments, ship, leave both where the test finds them."""
    encoded = _shipper.encode_arguments(tuple(args), kwargs or {}, target_name=name, target=target)
    artifact = _shipper.ship(target, name=name, environment=_Request("3.11"), max_concurrency=1)
    out = _pathlib.Path(_OUT)
    out.mkdir(exist_ok=True)
    if data:
        (out / (name + ".artifact")).write_bytes(artifact.data())
    (out / (name + ".arguments")).write_bytes(encoded)
    manifest = artifact.manifest
    return {"id": artifact.id, "code": manifest.code, "entry": manifest.entry, "files": sorted(manifest.files)}
'''

RUN = """
import asyncio, importlib, inspect, json, operator, pathlib, sys
root, files = sys.argv[1:3]
sys.path[:0] = [files, root]
from worker_runtime.wire import paths, payload

loaded = {}

def load(path):
    if path not in loaded:
        artifact = pathlib.Path(path).read_bytes()
        manifest = paths.read_manifest(artifact)
        paths.unpack_files(artifact, pathlib.Path(files))
        importlib.invalidate_caches()
        if manifest.entry is None:
            loaded[path] = payload.decode(paths.read_code(artifact))
        else:
            module, _, name = manifest.entry.partition(":")
            found = operator.attrgetter(name)(importlib.import_module(module))
            loaded[path] = getattr(found, "__flash_target__", found)
    return loaded[path]

def call(path, arguments, method=None):
    function = load(path)
    args, kwargs = payload.decode(pathlib.Path(arguments).read_bytes())
    value = function(*args, **kwargs)
    if method is not None:
        value = getattr(value, method)()
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    return list(value) if inspect.isgenerator(value) else value

for line in sys.stdin:
    request = json.loads(line)
    result = request.pop("result", None)
    try:
        value = call(**request)
        answer = {"value": repr(value)}
    except Exception as error:
        value = error
        answer = {"error": f"{type(error).__name__}: {error}"}
    if result is not None:
        pathlib.Path(result).write_bytes(payload.encode(value))
    print(json.dumps(answer), flush=True)
"""


class BarePython:
    """An interpreter that runs artifacts, as a worker's child does. It stays warm until it is closed."""

    def __init__(self, files: Path) -> None:
        files.mkdir(exist_ok=True)
        command = [sys.executable, "-I", "-c", RUN, str(ROOT), str(files)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(self, artifact: Path, arguments: Path | None = None, **more: Any) -> dict[str, str]:
        """Run an artifact with encoded arguments; `{"value": repr}` or `{"error": text}`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"path": str(artifact), "arguments": str(arguments or artifact.with_suffix(".arguments")), **more}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, str] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=20)


def program(folder: Path, source: str, *, out: Path, seed: int = 0, name: str = "app.py", how: str = "file") -> Any:
    """Run a program with `_ship` in its globals; returns what the last line of its output says in JSON.

    `how`: from a "file" of that name in `folder`, "stdin", "command", or typed into a "repl".
    """
    text = f"_OUT = {str(out)!r}\n" + SHIP + textwrap.dedent(source)
    command, stdin = [sys.executable], ""
    if how == "file":
        (folder / name).write_text(text)
        command.append(name)
    elif how == "repl":
        (folder / "preamble.txt").write_text(text.removesuffix(textwrap.dedent(source)))
        stdin = "exec(open('preamble.txt').read())\n" + textwrap.dedent(source)
        command += ["-i", "-q"]
    elif how == "stdin":
        stdin = text
        command.append("-")
    else:
        command += ["-c", text]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed)}
    environ["HOME"] = str(folder)  # where an interactive Python leaves its history
    done = subprocess.run(command, cwd=folder, env=environ, input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
