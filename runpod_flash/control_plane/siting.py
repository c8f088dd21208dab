"""Where this control plane has what its workers need: the settings and the state folder, in the words of each part."""

import os
import sys
from pathlib import Path

import uv

from runpod_flash import release
from runpod_flash.control_plane import bundle
from runpod_flash.control_plane.containers import Engine
from runpod_flash.control_plane.environments import Environments
from runpod_flash.control_plane.launches import Site
from runpod_flash.control_plane.settings import PlaneSettings
from runpod_flash.control_plane.sharing import Sharing
from runpod_flash.control_plane.volumes import Volumes
from runpod_flash.state_folder import StateFolder


def site_of(settings: PlaneSettings, state: StateFolder, engine: Engine, volumes: Volumes, sharing: Sharing) -> Site:
    """Where workers live, and what they may see and change."""
    hidden = [state.home / "planes", state.blobs, state.volumes, state.runtime, sharing.folder]
    readonly: list[Path] = []
    if settings.listen is not None:
        readonly += [state.environments, state.bundle.parent, *_own_program(), *settings.pythons.folders()]
        hidden += [] if settings.listen.tls is None else [settings.listen.tls.key.absolute()]
    return Site(
        link_address=f"unix:{state.worker_socket}",
        bundle=bundle.ensure(state.bundle, compiled=settings.listen is not None),
        work=state.work / state.content[:12],
        hidden=tuple(map(str, hidden)),
        readonly=tuple(map(str, readonly)),
        volumes=volumes,
        private=None if settings.listen is None else state.home,
        base_env=settings.base_env,
        lease_s=settings.lease_s,
        cancel_grace_s=settings.cancel_grace_s,
        most_workers=settings.limits.machine_workers,
        init_s=settings.limits.init_s,
        ping_s=settings.limits.ping_s,
        engine=engine,
        must_isolate=settings.listen is not None,
        pickles=settings.pickles,
        arena="" if sharing.arena is None else str(state.arena_socket),
        cpus=sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1),
    )


def engine_of(settings: PlaneSettings, state: StateFolder) -> Engine:
    """What runs containers here, if anything does."""
    return Engine.find(
        settings.container_engine,
        settings.engine_env,
        state.runtime.name,
        state.plane / "containers",
        for_everybody=settings.allow_images,
    )


def environments_of(settings: PlaneSettings, state: StateFolder) -> Environments:
    """The environments of workers, and what may be installed in them."""
    return Environments(
        state.environments,
        uv=uv.find_uv_bin(),
        allow_apt=settings.allow_apt,
        wheels_only=settings.listen is not None and not settings.allow_builds,
        compiled=settings.listen is not None,  # workers cannot keep what they compile there
        failure_memory_s=settings.install_failure_s,
        base_env=settings.base_env,
        places=settings.pythons,
    )


def _own_program() -> list[Path]:
    """The folders from which this process runs code: its interpreter, that one's packages, and this package."""
    places = [Path(sys.prefix), Path(sys.base_prefix), *map(Path, sys.path), *release.package_folders()]
    return sorted({place.resolve() for place in places if place.is_dir()} - {Path("/")})
