"""The worker: runs shipped functions. Standard library and cloudpickle only."""

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from worker_runtime.__main__ import main; main()"
_FORK_BOOT = (  # what a child has imported when it starts is noted before more is
    "import sys; sys.path.insert(0, sys.argv[1]); from worker_runtime.child import main; own = frozenset(sys.modules); "
    "from worker_runtime import forkserver; forkserver.main(own)"
)


def launch_command(python: str, bundle: str, *, isolate: bool = True) -> list[str]:
    """The command that starts a worker; it then reads one line of JSON (`wire.specs.WorkerLaunch`) from standard input.

    `python` is any interpreter of a supported version, `bundle` the folder that holds this package. With
    `isolate=False` no namespaces are tried, as on a kernel that allows none.
    """
    return [python, "-I", "-S", "-X", "utf8", "-c", _BOOT, bundle, *([] if isolate else ["--no-namespaces"])]


def fork_server_command(python: str, bundle: str, control: int, packages: str) -> list[str]:
    """The command that starts a fork server of the interpreter `python`, with the flags that a worker's child has.

    `control` is the number of the inherited socket that it listens to, `packages` the JSON of `preloading.Packages`.
    """
    return [python, "-I", "-u", "-X", "utf8", "-c", _FORK_BOOT, bundle, str(control), packages]
