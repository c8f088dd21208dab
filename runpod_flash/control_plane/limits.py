"""The bounds of the published API, each of which the operator can set."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rate:
    """How much one user may ask of one endpoint: `requests` in ten seconds, `concurrent` at a time. 0: no bound."""

    requests: int
    concurrent: int


def _published() -> dict[str, Rate]:
    many = Rate(2000, 400)
    return {
        "runsync": many,
        "run": Rate(1000, 200),
        "status": many,
        "status-sync": many,
        "stream": many,
        "cancel": Rate(100, 20),
        "purge-queue": Rate(2, 0),
        "openai": many,
        "requests": Rate(10, 2),
    }


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds unless the name says otherwise.

    Attributes:
        run_bytes, runsync_bytes, chunk_bytes, balanced_bytes: the largest bodies (`/run`, `/runsync`, a chunk of a
            stream, a request or response of a load-balanced endpoint).
        body_s: how long a body may take to arrive.
        queue_floor, queue_per_worker: more than `queue_floor` waiting jobs and more than `queue_per_worker` for each
            worker that the endpoint may have are refused. 0: no bound.
        rates: by operation; an endpoint whose running workers, times `per_worker`, are more than its `requests` has
            those instead, and as many more in proportion at a time.
        rated: whether rates and the queue's bound hold for keys that were made for others ("keys"), for nobody
            ("nobody"), or for everybody ("everybody").
        take_hold_s, stream_hold_s: how long an open job-take or job-stop, and an empty stream, is held.
        ping_s: how often a worker pings. `silent_pings`: a job that so many pings in a row do not name is lost.
        stream_items, stream_bytes: how much of the stream of a generator may be unread until it has to wait.
        stream_unread_s: how long it waits so until its job ends; 0: as long as the job may live.
        machine_workers: how many workers there may be at a time, of all endpoints; 0: no bound.
        init_s: how long a worker's command may take until it is ready.
        balanced_wait_s, balanced_s: how long a request waits for a worker, and how long it may take.
        affinity_wait_s: how long a request waits for the one worker that it insists on.
        health_s: how often a load-balanced worker's health is asked for. `unhealthy_s`: how long a healthy one may then
            be unhealthy until it is replaced.
        webhook_tries, webhook_gap_s, webhook_timeout_s: how often, how far apart and how long a webhook is called.
        webhook_private: whether webhooks may go to private and loopback addresses.
    """

    run_bytes: int = 10 * 1024**2
    runsync_bytes: int = 20 * 1024**2
    chunk_bytes: int = 1024**2
    balanced_bytes: int = 30 * 1024**2
    body_s: float = 60.0
    queue_floor: int = 50
    queue_per_worker: int = 500
    rates: dict[str, Rate] = field(default_factory=_published)
    per_worker: int = 0
    rated: str = "keys"
    take_hold_s: float = 30.0
    stream_hold_s: float = 10.0
    ping_s: float = 3.0
    silent_pings: int = 3
    stream_items: int = 1000
    stream_bytes: int = 64 * 1024**2
    stream_unread_s: float = 3600.0
    machine_workers: int = 0
    init_s: float = 480.0
    balanced_wait_s: float = 120.0
    balanced_s: float = 330.0
    affinity_wait_s: float = 300.0
    health_s: float = 1.0
    unhealthy_s: float = 30.0
    webhook_tries: int = 3
    webhook_gap_s: float = 10.0
    webhook_timeout_s: float = 30.0
    webhook_private: bool = False
