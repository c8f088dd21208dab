"""What the tests ask a worker's child about itself: all that could differ between one that was started and one that was
forked."""

import ctypes
import gc
import locale
import os
import random
import resource
import signal
import sys
import threading


def state():
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split(" ", 4)[4].split(" - ")[0] for line in file]
    told = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn", "SigCgt",
            "ShdPnd", "Groups", "Umask", "Uid", "Gid", "Threads", "Name", "CoreDumping", "THP_enabled")  # fmt: skip
    return {
        **{name: status.get(name) for name in told},
        "mounts": len(mounts),
        "descriptors": sorted(kind_of(number) for number in os.listdir("/proc/self/fd")),
        "environ": {name: value for name, value in os.environ.items() if name != "MARK"},
        "shown environ": shown("environ"),
        "shown argv": shown("cmdline")[:6],
        "argv": sys.argv,
        "orig_argv": sys.orig_argv[:7],
        "flags": str(sys.flags),
        "path": [part for part in sys.path if "/fw-" not in part],
        "path length": len(sys.path),
        "prefixes": (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.executable),
        "handlers": {int(number): str(signal.getsignal(number)).split(" at ")[0] for number in signal.valid_signals()},
        "limits": [resource.getrlimit(kind) for kind in range(16)],
        "locale": (locale.setlocale(locale.LC_CTYPE), locale.setlocale(locale.LC_NUMERIC), locale.getencoding()),
        "streams": [(each.encoding, each.errors, each.line_buffering, each.write_through) for each in streams()],
        "main": sorted(vars(sys.modules["__main__"])),
        "gc": (gc.isenabled(), gc.get_threshold()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "is main": threading.current_thread() is threading.main_thread(),
        "nice": os.nice(0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "session": (os.getsid(0) == os.getppid() or os.getsid(0), os.getpgrp() == os.getsid(0)),
        "cwd": os.getcwd().rsplit("/", 1)[-1],
        "reads itself": os.access("/proc/self/mem", os.R_OK),
        "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
        "recursion": sys.getrecursionlimit(),
        "hooks": (sys.excepthook is sys.__excepthook__, len(sys.meta_path), len(sys.path_hooks)),
    }


def streams():
    return sys.stdin, sys.stdout, sys.stderr


def kind_of(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}").split(":")[0].split("/")[-1]
    except OSError:  # that of looking
        return "proc"


def shown(name):
    with open(f"/proc/self/{name}", "rb") as file:
        return sorted(part for part in file.read().decode().split("\0") if part and not part.startswith("MARK="))


def numbers(name):
    import importlib

    if name == "random":
        return random.random()
    if name == "uuid":
        return importlib.import_module("uuid").uuid4().hex
    if name == "secrets":
        return importlib.import_module("secrets").token_hex()
    if name == "tempfile":
        return next(importlib.import_module("tempfile")._get_candidate_names())
    if name == "authkey":
        return importlib.import_module("multiprocessing.process").current_process().authkey.hex()
    return float(importlib.import_module(f"{name}.random").random())


def memory_has(text):
    """How often this process's memory has a text, which comes in two halves: so asking does not put it there."""
    first, second = (half.encode() for half in text)
    found = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw") or "[v" in line:
                continue
            start, end = (int(each, 16) for each in span.split("-"))
            memory.seek(start)
            data = memory.read(end - start)
            place = data.find(first)
            while place >= 0:
                found += data[place + len(first) : place + len(first) + len(second)] == second
                place = data.find(first, place + 1)
            del data
    return found


def imported(name):
    return name in sys.modules


def own_module(name):
    import importlib

    return getattr(importlib.import_module(name), "WHOSE", "another's")


def exit_handlers(path):
    import atexit

    def leave_a_mark():
        with open(path, "a") as file:
            file.write("x")

    atexit.register(leave_a_mark)
    return "registered"
