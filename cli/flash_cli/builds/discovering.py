"""A program that imports the files of a project and says which endpoints they have.

`python -P -m flash_cli.builds.discovering FD` speaks over the socket FD, lines of JSON: one request comes, then what
happens is told. The user's code may do anything here, the end of this process included; who started it makes up for
that (`flash_cli.builds.discovery`).

    ◀ {"root", "files": [path …], "deadline_s", "python", "trace"}
    ▶ {"importing": path} · {"failed": path, "message", "trace"} · {"describing": path} · {"found": …}
    ▶ {"notice": text} · {"refused": text} · {"done": true}
"""

import contextlib
import faulthandler
import importlib
import json
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from flash_cli.builds import importing
from flash_cli.builds.describing import Describer, Place, check_name, declared_in
from runpod_flash.errors import ConfigError, FlashError

_OWN = (os.path.dirname(__file__), os.path.dirname(importlib.__file__))
_TRACE = 4000  # characters
_LOST = 70  # the exit status where no more can be said


class _Program:
    """One pass over a project's files."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._pid = os.getpid()
        self._request: Mapping[str, Any] = {}
        self._root = Path()

    def run(self) -> None:
        """Answer the one request. Does not raise what the user's code raises."""
        with self._link.makefile("r", encoding="utf-8") as lines:
            line = lines.readline()
        if not line:
            return
        self._request = json.loads(line)
        self._root = Path(self._request["root"])
        importing.prepare(str(self._root))
        faulthandler.enable(file=self._request["trace"])
        try:
            modules = self._import_all()
            self._describe_all(modules)
            self._tell(done=True)
        except ConfigError as error:
            self._tell(refused=str(error))

    def _import_all(self) -> dict[str, ModuleType]:
        modules = {}
        for path in self._request["files"]:
            self._tell(importing=path)
            self._watch()
            if str(self._root) not in sys.path:
                sys.path.insert(0, str(self._root))
            sys.argv = [str(self._root / path)]
            try:
                module = importlib.import_module(importing.module_name(path, self._root))
                self._check_file(module, path)
                modules[path] = module
            except BaseException as error:  # noqa: BLE001 - the user's module runs here, and may call sys.exit
                self._fail(path, error)
            if os.getpid() != self._pid:
                os._exit(0)  # the module forked, and this is the other one
            os.chdir(self._root)
        return modules

    def _describe_all(self, modules: Mapping[str, ModuleType]) -> None:
        describer = Describer(self._root, modules, self._request["python"])
        known: dict[str, tuple[Any, Place]] = {}
        for file, variable, found in declared_in(modules):
            self._tell(describing=file)
            self._watch()
            place, key = describer.place(file, variable, found), describer.key(found)
            name = found.spec.name
            if name in known:
                if known[name][0] != key:
                    raise ConfigError(_twice(name, known[name][1], place))
                continue
            try:
                if not describer.own(found):
                    self._tell(notice=f"endpoint '{name}' of {file} comes from an installed package and is left out")
                    continue
                known[name] = key, place
                check_name(name, place)
                described = describer.described(place, found)
            except BaseException as error:  # noqa: BLE001 - the user's types and descriptors run here
                self._fail(place.file, error)
                continue
            self._tell(found=described)

    def _check_file(self, module: ModuleType, path: str) -> None:
        loaded = os.path.realpath(getattr(module, "__file__", None) or "")
        if loaded != os.path.realpath(self._root / path):
            raise ConfigError(
                f"another module has the name {module.__name__} already: {loaded or 'one that is built in'}; give the "
                "file another name"
            )

    def _fail(self, path: str, error: BaseException) -> None:
        self._tell(failed=path, message=_message(error, self._root), trace=_trace(error))

    def _watch(self) -> None:
        faulthandler.dump_traceback_later(self._request["deadline_s"], exit=True, file=self._request["trace"])

    def _tell(self, **message: Any) -> None:
        if os.getpid() == self._pid:
            self._link.sendall(json.dumps(message).encode() + b"\n")


def _twice(name: str, one: Place, other: Place) -> str:
    return (
        f"two different endpoints have the name '{name}': {one}, and {other}; a deployed endpoint runs one function or "
        "class, or one Endpoint's routes: give one of them another name="
    )


def _message(error: BaseException, root: Path) -> str:
    if isinstance(error, SystemExit):
        text = f'it called sys.exit({error.code!r}) when it was imported; put that under if __name__ == "__main__":'
    elif isinstance(error, FlashError):
        text = str(error)
    else:
        text = ": ".join(filter(None, (type(error).__name__, _words(error))))
    if isinstance(error, SyntaxError):
        return text
    file, line = _last_place(error.__traceback__, root)
    if not file:
        return text
    hint = _where_modules_are(error, root, root / file) if isinstance(error, ModuleNotFoundError) else ""
    return f"{text} ({file} line {line}){hint}"


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the user's own exception speaks here
        return ""


def _last_place(trace: TracebackType | None, root: Path) -> tuple[str, int]:
    """The last line of the project that ran before the error; "" where none did."""
    own = [
        (Path(frame.filename).relative_to(root).as_posix(), frame.lineno or 0)
        for frame in traceback.extract_tb(trace)
        if Path(frame.filename).is_relative_to(root)
    ]
    return own[-1] if own else ("", 0)


def _where_modules_are(error: ModuleNotFoundError, root: Path, file: Path) -> str:
    """What to do about a module that a file of the project does not find."""
    name = error.name or ""
    beside = file.parent / name.partition(".")[0]
    if file.parent != root and (beside.is_dir() or beside.with_name(f"{beside.name}.py").is_file()):
        folder = file.parent.relative_to(root).as_posix().replace("/", ".")
        return f"; files are imported from the project's folder: write {folder}.{name}"
    return "; install it on this machine, too, or import it inside the function that needs it"


def _trace(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith((*_OWN, "<frozen")):
        trace = trace.tb_next
    if trace is None and not isinstance(error, SyntaxError):
        return ""
    text = "".join(traceback.format_exception(type(error), error, trace))
    return text if len(text) <= _TRACE else "…" + text[-_TRACE:]


def main() -> None:
    """Run the pass; the process ends at once after it, whatever threads the user's modules have started."""
    link = socket.socket(fileno=int(sys.argv[1]))
    link.set_inheritable(False)
    status = 0
    with contextlib.suppress(BaseException):  # of streams that the user's modules have closed
        try:
            _Program(link).run()
        except BaseException:  # noqa: BLE001 - they may have taken away anything that is needed here
            status = _LOST
            traceback.print_exc()
        sys.stderr.flush()
        sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
