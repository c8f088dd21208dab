"""What the tests' user wrote: shipped to workers as a local module."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time

CALLS = []


class Oops(ValueError):
    def __init__(self, code):
        super().__init__(f"oops {code}")
        self.code = code

    def __reduce__(self):
        return Oops, (self.code,)


class Unrebuildable(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def add(a, b=2, *rest, c=0):
    return a + b + sum(rest) + c


async def add_async(a, b):
    await asyncio.sleep(0)
    return a + b


def decorated(function):
    def wrapper(*args):
        return function(*args)

    return wrapper


wrapped_async = decorated(add_async)


class Decorated:
    """Stands for what the SDK's decorator gives back."""

    def __init__(self, target):
        self.__flash_target__ = target

    def __call__(self, *args):
        raise AssertionError("the decorated object must not be called on a worker")


shadowed = Decorated(add)


def remember(value):
    CALLS.append(value)
    return list(CALLS)


async def loop_id():
    return id(asyncio.get_running_loop())


def same(value):
    return value


def fail(code):
    try:
        {}["missing"]
    except KeyError as error:
        error.add_note("a note on the cause")
        raise Oops(code) from error


def fail_oddly():
    raise Unrebuildable(1, 2)


def leave(code):
    sys.exit(code)


def interrupt():
    raise KeyboardInterrupt("by hand")


def close_generator():
    raise GeneratorExit


async def leave_in_a_task():
    async def boom():
        sys.exit(5)

    await asyncio.gather(asyncio.create_task(boom()), asyncio.sleep(30))


def recurse():
    return recurse()


def no_memory():
    raise MemoryError("all gone")


def lock():
    return {"inner": threading.Lock()}


def generate():
    yield 1


async def generate_async():
    yield 1


def write_everywhere():
    print("from print")
    logging.getLogger("mine").info("from logging")
    subprocess.run([sys.executable, "-c", "print('from a subprocess')"], check=True)
    os.write(1, b"from os.write")
    sys.stdout.write("\n")
    import ctypes

    ctypes.CDLL(None).puts(b"from C")
    print("no newline", end="")
    return "done"


def write_slowly(pause):
    print("begun", end="")
    time.sleep(pause)
    print(" and ended")


def write_much(count):
    for number in range(count):
        print(number)
    return count


def prints(number):
    print(f"line {number}")


def own_pid():
    return os.getpid()


def exit_hard(code):
    print("last words", file=sys.stderr)
    os._exit(code)


def kill_self(number):
    os.kill(os.getpid(), number)
    time.sleep(30)


def spin(seconds):
    print("spinning", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


def spin_stubbornly(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            print("stubborn")
            time.sleep(0.05)
        except KeyboardInterrupt:
            continue


def sleep(seconds):
    print("sleeping")
    time.sleep(seconds)


def handles_signals(seconds):
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return "ignored"


async def sleep_async(seconds):
    try:
        await asyncio.sleep(seconds)
    finally:
        print("cleaned up")


def hold_the_gil(exponent):
    print("holding", flush=True)
    return 7**exponent % 10


async def together(barrier, count):
    TOGETHER.add(barrier)
    while len(TOGETHER) < count:
        await asyncio.sleep(0.005)
    return threading.current_thread() is threading.main_thread()


TOGETHER = set()


def together_plain(barrier, count):
    TOGETHER.add(barrier)
    while len(TOGETHER) < count:
        time.sleep(0.005)
    return threading.current_thread() is threading.main_thread()


def on_main_thread():
    return threading.current_thread() is threading.main_thread()


def orphan():
    """Leave a process behind that is in a session of its own and has no parent any more."""
    code = "import os, time\nif os.fork(): os._exit(0)\nos.setsid()\nprint(os.getpid(), flush=True)\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        return int(process.stdout.readline())


def orphan_then_sleep():
    orphan()
    print("orphaned", flush=True)
    time.sleep(600)


def fork_on_and_on(path):
    """Leave processes behind that are followed by others again and again, for a while; each marks the file."""
    code = f"""
import os, time
file, end = os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT), time.monotonic() + 40
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    os.write(file, b"x")
    time.sleep(0.1)
"""
    for _ in range(5):
        subprocess.Popen([sys.executable, "-S", "-c", code])
    time.sleep(600)


def fork_and_return():
    return "child" if os.fork() == 0 else "parent"


def look(folder):
    return sorted(os.listdir(folder))


def myself():
    with open("/proc/self/status") as file:
        status = file.read()
    return {
        "cwd": os.getcwd(),
        "env": dict(os.environ),
        "uid": os.getuid(),
        "path": list(sys.path),
        "argv": sys.argv,
        "stdin": sys.stdin.read(),
        "pid": os.getpid(),
        "proc": int(status.split("\nPid:")[1].split()[0]),
        "cpus": sorted(os.sched_getaffinity(0)),
        "pids": [name for name in os.listdir("/proc") if name.isdecimal()],
    }


def scheduling():
    with open("/proc/self/timerslack_ns") as file:
        return int(file.read()), os.sched_getscheduler(0)


def imports(name):
    import importlib

    return importlib.import_module(name).__file__


def use_psutil():
    import psutil

    return psutil.Process().name(), psutil.Process().ppid(), os.getppid()


def token():
    with open(f"/proc/{os.getppid()}/environ", "rb") as file:
        return file.read()


class Counter:
    MADE = 0

    def __init__(self, start=0, fails=False):
        if fails:
            raise Oops(start)
        Counter.MADE += 1
        time.sleep(0.05)
        self.value = start

    def add(self, amount=1):
        self.value += amount
        return self.value

    async def add_async(self, amount=1):
        await asyncio.sleep(0)
        return self.add(amount)

    def made(self):
        return Counter.MADE

    def __call__(self, text):
        return f"{text} {self.value}"

    def close(self):
        print(f"closed at {self.value}")


class AsyncClosed:
    def __init__(self):
        self.loop = None

    async def use(self):
        self.loop = asyncio.get_running_loop()

    async def __aexit__(self, *error):
        assert error == (None, None, None)
        print("left", asyncio.get_running_loop() is self.loop)


class Unclosable:
    def use(self):
        return 1

    def __exit__(self, *error):
        raise Oops(1)


def write_into(folder):
    with open(os.path.join(folder, "new"), "w") as file:
        file.write("x")


def orphan_then_kill_the_parent():
    orphan()
    os.kill(os.getppid(), 9)
    time.sleep(600)


def use_processes(method):
    import multiprocessing

    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(add_nothing, [2, 3])


def add_nothing(value):
    return value


HELD = []


def fill(megabytes, seconds=60):
    print("filling", flush=True)
    HELD.append(b"x" * (megabytes << 20))
    time.sleep(seconds)
    return "filled"


def fill_in_a_process(megabytes):
    print("filling", flush=True)
    code = f"import time; held = b'x' * ({megabytes} << 20); time.sleep(60)"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)


def fill_later(path, megabytes):
    """Go on after the end of the call, when there is such a file."""

    def wait_and_fill():
        while not os.path.exists(path):
            time.sleep(0.01)
        fill(megabytes)

    threading.Thread(target=wait_and_fill, daemon=True).start()
    return "left"


def share(megabytes, seconds):
    """Hold something that forked processes have too, for a while."""
    held = b"x" * (megabytes << 20)
    for _ in range(3):
        if os.fork() == 0:
            time.sleep(seconds)
            os._exit(0)
    time.sleep(seconds)
    return len(held)


def end_after_answers(count, size):
    """End this process as soon as so many calls have been answered."""
    from worker_runtime.channel import Channel

    answer = Channel.done

    def answer_and_end(*args):
        quiet = answer(*args)
        CALLS.append("answered")
        if len(CALLS) == count:
            os._exit(7)
        return quiet

    if not CALLS:
        Channel.done = answer_and_end
    return b"x" * size


def yields(count):
    try:
        yield from range(count)
    finally:
        print("closed", flush=True)


async def yields_async(count):
    try:
        for number in range(count):
            yield number
    finally:
        await asyncio.sleep(0)
        print("closed", flush=True)


def yields_on(count):
    """Takes no interrupt for an end."""
    for number in range(count):
        try:
            yield number
        except KeyboardInterrupt:
            continue


def yields_and_fails():
    yield (1, 2)
    yield {"flash": 3}
    raise Oops(7)
