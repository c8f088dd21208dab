"""What workers of this control plane are started with: where they live, their environment, cores and memory."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runpod_flash import hardware
from runpod_flash.control_plane.command_env import command_env
from runpod_flash.control_plane.container_run import Share, container_run
from runpod_flash.control_plane.containers import Engine
from runpod_flash.control_plane.environments import Environment
from runpod_flash.control_plane.fleet import Worker
from runpod_flash.control_plane.loaded_modules import LoadedModules
from runpod_flash.control_plane.principals import OWNER, Pickles
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.volumes import VolumeRecord, Volumes
from runpod_flash.scopes import stage_of
from worker_runtime.wire.specs import WorkerLaunch

_ORDER = ("pools", "excludedTypes", "preferredTypes")
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
    volumes: Volumes | None = None
    engine: Engine | None = None  # runs images; None: nothing does
    must_isolate: bool = False  # no worker starts where its code could see or change the control plane's files
    pickles: Pickles = Pickles.EVERYBODY  # whose are loaded
    arena: str = ""  # the socket where memory is shared; "": none is


class Launches:
    """Describes how workers are started.

    Attributes:
        loaded: what their functions import.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.loaded = LoadedModules()
        self._next_cpu = 0

    def of(self, worker: Worker, environment: Environment, endpoint: EndpointRecord, api_url: str) -> WorkerLaunch:
        """The launch of a worker. `api_url`: where its code finds this control plane.

        Raises:
            VolumeNotFound: a network volume of the endpoint has been deleted.
        """
        cpus, volumes = self._cpus(endpoint), self._site.volumes
        volume = None if volumes is None else volumes.of_worker(endpoint)
        launch = WorkerLaunch(
            worker=worker.id,
            token=worker.token,
            address=self._site.link_address,
            endpoint=endpoint.id,
            name=endpoint.name,
            folder=str(worker.folder),
            python=environment.python,
            bundle=str(self._site.bundle),
            env={**self._env(worker, environment, endpoint, api_url, len(cpus)), **_of_volume(volume)},
            overlay=environment.overlay,
            cpus=cpus,
            memory_mb=size_of(endpoint, len(self._site.cpus))[1],
            max_concurrency=worker.pool.key.concurrency,
            beat_s=self._site.lease_s / 3,
            cancel_grace_s=self._site.cancel_grace_s,
            hidden=(*self._site.hidden, *_foreign_keys(endpoint, self._site.base_env)),
            readonly=self._site.readonly,
            private=str(self._site.private or self._site.work),
            volume=None if volumes is None or volume is None else str(volumes.files(volume.id)),
            must_isolate=self._site.must_isolate,
            pickles=self._site.pickles.of(endpoint.owner) and not endpoint.has_own_calls,
            command=endpoint.command,
            directory=endpoint.body.get("directory"),
            arena=self._site.arena if endpoint.owner == OWNER else "",
            preload=self.loaded.of(worker.pool),
            port=worker.port if endpoint.is_load_balanced and endpoint.artifact is not None else 0,
        )
        return launch if endpoint.image is None else self._contained(launch, worker, endpoint, api_url)

    def _contained(self, launch: WorkerLaunch, worker: Worker, endpoint: EndpointRecord, api_url: str) -> WorkerLaunch:
        """The launch of a worker that holds a container: of the machine's variables the container has none."""
        assert self._site.engine is not None
        env = self._threads(len(launch.cpus)) | dict(endpoint.body.get("env") or {})
        volume = self._site.volumes.of_worker(endpoint) if self._site.volumes is not None else None
        env |= self._own(worker, endpoint, env, api_url) | _of_volume(volume)
        share = Share(worker.grant, launch.cpus, launch.memory_mb, launch.volume)
        run = container_run(self._site.engine, worker.id, endpoint, env, share)
        # What isolates is the engine. Its own program, all that the worker runs, must reach the engine's socket.
        outside = replace(launch, volume=None, must_isolate=False)
        return replace(outside, command=run.command, env=run.env, farewell=run.farewell)

    def _env(
        self, worker: Worker, environment: Environment, endpoint: EndpointRecord, api_url: str, cpus: int
    ) -> dict[str, str]:
        env = dict(self._site.base_env)
        env["PATH"] = ":".join([*environment.path_entries, env.get("PATH", "/usr/local/bin:/usr/bin:/bin")])
        env.update(self._threads(cpus))
        env.update(endpoint.body.get("env") or {})
        if environment.overlay is not None:  # for its commands: the user's code itself gets the overlay by sys.path
            env["PYTHONPATH"] = ":".join(filter(None, [environment.overlay, env.get("PYTHONPATH")]))
        # By the order of the bus: that is how the inventory counts, and CUDA by itself would put the fastest first.
        gpus = {"CUDA_VISIBLE_DEVICES": worker.grant.visible_devices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return {**env, **gpus, **self._own(worker, endpoint, env, api_url), "FLASH_SAME_MACHINE": "1"}

    def _own(self, worker: Worker, endpoint: EndpointRecord, env: Mapping[str, str], api_url: str) -> dict[str, str]:
        """Who the worker is and how it finds this control plane."""
        own = {"RUNPOD_ENDPOINT_ID": endpoint.id, "RUNPOD_POD_ID": worker.id, "FLASH_RESOURCE_NAME": endpoint.name}
        way_back = {"FLASH_TARGET": api_url, "FLASH_API_KEY": worker.key, **_of_scope(endpoint.project)}
        if endpoint.runs_command:
            own.update(command_env(worker, endpoint, env, api_url, self._site.ping_s))
        return {**own, **way_back}

    @staticmethod
    def _threads(cpus: int) -> dict[str, str]:
        return dict.fromkeys(_THREAD_VARIABLES, str(cpus)) if cpus else {}

    def _cpus(self, endpoint: EndpointRecord) -> tuple[int, ...]:
        """The cores of a `cpu=` endpoint: as many as its size has, in turn around the machine; empty: all."""
        wished, _ = size_of(endpoint, len(self._site.cpus))
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
    types = [kind.value for kind in hardware.types_in(*(gpu.get(key) or () for key in _ORDER))]
    return types, int(gpu.get("count") or 1)


def wanted_cuda(endpoint: EndpointRecord) -> tuple[str, list[str]]:
    """The least CUDA version that the endpoint's driver must support, and those of which it must be one; or nothing."""
    gpu = endpoint.body.get("gpu") or {}
    return str(gpu.get("minCudaVersion") or ""), list(gpu.get("allowedCudaVersions") or ())


def size_of(endpoint: EndpointRecord, cores_here: int) -> tuple[int, int]:
    """The size of a `cpu=` endpoint's workers: cores and memory in MB; zeros where it names none.

    It is the first that the endpoint names and for which this machine has cores enough, else the smallest.
    """
    sizes = [(int(entry.get("vcpuCount") or 0), str(entry.get("id"))) for entry in endpoint.body.get("cpu") or []]
    known = [(cores, cores * hardware.RAM_GB_PER_VCPU.get(kind, 0) * 1024) for cores, kind in sizes]
    return next((size for size in known if size[0] <= cores_here), min(known, default=(0, 0)))


def _of_scope(scope: str) -> dict[str, str]:
    """Where the worker's code finds the endpoints beside its own: in the stage of its app, or in its project."""
    stage = stage_of(scope)
    return {"FLASH_PROJECT": scope} if stage is None else {"FLASH_APP": stage.app, "FLASH_ENV": stage.stage}


def _of_volume(volume: VolumeRecord | None) -> dict[str, str]:
    return {} if volume is None else {"RUNPOD_VOLUME_ID": volume.id, "RUNPOD_DC_ID": volume.datacenter}


def _foreign_keys(endpoint: EndpointRecord, env: Mapping[str, str]) -> tuple[str, ...]:
    """The folder of a key for Runpod's cloud: its worker package would send that one instead of the worker's."""
    home = env.get("HOME")
    return () if not endpoint.runs_command or not home else (str(Path(home) / ".runpod"),)


def port_of(endpoint: EndpointRecord) -> int:
    """A free port; for an image that says its own, by the variable PORT, that one."""
    own = str((endpoint.body.get("env") or {}).get("PORT", ""))
    if endpoint.image is not None and own.isascii() and own.isdigit() and 0 < int(own) < 65536:
        return int(own)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
