"""What workers of this control plane are started with: where they live, their environment, cores and memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runpod_flash import hardware
from runpod_flash.control_plane.command_env import command_env
from runpod_flash.control_plane.environments import Environment
from runpod_flash.control_plane.fleet import Worker
from runpod_flash.control_plane.records import EndpointRecord
from worker_runtime.wire.specs import WorkerLaunch

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Site:
    """Where workers of this control plane live and what they start from."""

    link_address: str
    bundle: Path
    work: Path
    hidden: tuple[str, ...]
    base_env: Mapping[str, str]
    lease_s: float
    cancel_grace_s: float
    cpus: Sequence[int]
    most_workers: int = 0  # at a time; 0: no bound
    init_s: float = 480.0  # how long a command may take until it is ready
    ping_s: float = 3.0  # how often a command says which jobs it has
    readonly: tuple[str, ...] = ()  # folders in which user code can change nothing
    private: Path | None = None  # of this folder a worker sees its own and read-only ones alone; None: of `work`
    must_isolate: bool = False  # no worker starts where its code could see or change the control plane's files


class Launches:
    """Describes how workers are started."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._next_cpu = 0

    def of(self, worker: Worker, environment: Environment, endpoint: EndpointRecord, api_url: str) -> WorkerLaunch:
        """The launch of a worker. `api_url`: where its code finds this control plane."""
        cpus = self._cpus(endpoint)
        return WorkerLaunch(
            worker=worker.id,
            token=worker.token,
            address=self._site.link_address,
            endpoint=endpoint.id,
            name=endpoint.name,
            folder=str(worker.folder),
            python=environment.python,
            bundle=str(self._site.bundle),
            env=self._env(worker, environment, endpoint, api_url, len(cpus)),
            overlay=environment.overlay,
            cpus=cpus,
            memory_mb=_size(endpoint)[1],
            max_concurrency=worker.pool.key.concurrency,
            beat_s=self._site.lease_s / 3,
            cancel_grace_s=self._site.cancel_grace_s,
            hidden=(*self._site.hidden, *_foreign_keys(endpoint, self._site.base_env)),
            readonly=self._site.readonly,
            private=str(self._site.private or self._site.work),
            must_isolate=self._site.must_isolate,
            command=endpoint.command,
            directory=endpoint.body.get("directory"),
            port=worker.port if endpoint.artifact is not None else 0,
        )

    def _env(
        self, worker: Worker, environment: Environment, endpoint: EndpointRecord, api_url: str, cpus: int
    ) -> dict[str, str]:
        env = dict(self._site.base_env)
        env["PATH"] = ":".join([*environment.path_entries, env.get("PATH", "/usr/local/bin:/usr/bin:/bin")])
        if cpus:
            env.update(dict.fromkeys(_THREAD_VARIABLES, str(cpus)))
        env.update(endpoint.body.get("env") or {})
        if environment.overlay is not None:  # for its commands: the user's code itself gets the overlay by sys.path
            env["PYTHONPATH"] = ":".join(filter(None, [environment.overlay, env.get("PYTHONPATH")]))
        # By the order of the bus: that is how the inventory counts, and CUDA by itself would put the fastest first.
        gpus = {"CUDA_VISIBLE_DEVICES": worker.grant.visible_devices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        own = {"RUNPOD_ENDPOINT_ID": endpoint.id, "RUNPOD_POD_ID": worker.id, "FLASH_RESOURCE_NAME": endpoint.name}
        way_back = {"FLASH_TARGET": api_url, "FLASH_API_KEY": worker.key, "FLASH_PROJECT": endpoint.project}
        if endpoint.command is not None:
            own.update(command_env(worker, endpoint, env, api_url, self._site.ping_s))
        return {**env, **gpus, **own, **way_back, "FLASH_SAME_MACHINE": "1"}

    def _cpus(self, endpoint: EndpointRecord) -> tuple[int, ...]:
        """The cores of a `cpu=` endpoint: as many as its size has, in turn around the machine; empty: all."""
        wished, _ = _size(endpoint)
        there = list(self._site.cpus)
        if not wished or wished >= len(there):
            return ()
        first, self._next_cpu = self._next_cpu, (self._next_cpu + wished) % len(there)
        return tuple(sorted(there[(first + step) % len(there)] for step in range(wished)))


def wanted_gpus(endpoint: EndpointRecord) -> tuple[list[str], int]:
    """The types that the endpoint may have, in order of preference, and how many of one; 0: it asks for none."""
    gpu = endpoint.body.get("gpu")
    if not gpu:
        return [], 0
    types = [kind.value for kind in hardware.types_in(gpu.get("pools") or (), gpu.get("excludedTypes") or ())]
    return types, int(gpu.get("count") or 1)


def _size(endpoint: EndpointRecord) -> tuple[int, int]:
    """The largest size that a `cpu=` endpoint names: its cores and its memory in MB; zeros where it names none."""
    sizes = [(int(entry.get("vcpuCount") or 0), str(entry.get("id"))) for entry in endpoint.body.get("cpu") or []]
    return max(((cores, cores * hardware.RAM_GB_PER_VCPU.get(kind, 0) * 1024) for cores, kind in sizes), default=(0, 0))


def _foreign_keys(endpoint: EndpointRecord, env: Mapping[str, str]) -> tuple[str, ...]:
    """The folder of a key for Runpod's cloud: its worker package would send that one instead of the worker's."""
    home = env.get("HOME")
    return () if endpoint.command is None or not home else (str(Path(home) / ".runpod"),)
