"""The worker: runs shipped functions. Standard library and cloudpickle only."""

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from worker_runtime.__main__ import main; main()"


def launch_command(python: str, bundle: str, *, isolate: bool = True) -> list[str]:
    """The command that starts a worker; it then reads one line of JSON (`wire.specs.WorkerLaunch`) from standard input.

    `python` is any interpreter of a supported version, `bundle` the folder that holds this package. With
    `isolate=False` no namespaces are tried, as on a kernel that allows none.
    """
    return [python, "-I", "-S", "-X", "utf8", "-c", _BOOT, bundle, *([] if isolate else ["--no-namespaces"])]
