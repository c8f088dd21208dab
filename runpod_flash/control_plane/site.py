"""Where workers of a control plane live, and what their code may see and change there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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
