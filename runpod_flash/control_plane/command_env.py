"""The variables of a command: what Runpod's own worker package reads, so that its handlers run here as they are."""

from collections.abc import Mapping
from urllib.parse import quote_plus

from runpod_flash.control_plane.fleet import Worker
from runpod_flash.control_plane.records import EndpointRecord


def command_env(
    worker: Worker, endpoint: EndpointRecord, env: Mapping[str, str], api_url: str, ping_s: float
) -> dict[str, str]:
    """What is added for a worker that runs a command. `env`: the endpoint's own variables and the machine's.

    `$ID` and `$RUNPOD_POD_ID` stay as they are: the worker package puts ids there. A load-balanced one gets a port of
    its own in place of the one that its image would have for itself.
    """
    gpus = worker.grant.gpus
    shared = {
        "RUNPOD_POD_HOSTNAME": worker.id,
        "RUNPOD_GPU_COUNT": str(len(gpus)),
        "RUNPOD_API_KEY": worker.key,
        "RUNPOD_ENDPOINT_BASE_URL": f"{api_url}/v2",
    }
    if endpoint.is_load_balanced:
        return {**shared, "PORT": str(worker.port), "PORT_HEALTH": str(worker.port)}
    base = f"{api_url}/v2/{endpoint.id}"
    gpu = f"gpu={quote_plus(gpus[0].type if gpus else 'cpu')}"  # the package goes on with "&"
    return {
        **shared,
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?{gpu}",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?{gpu}",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?{gpu}",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
        "RUNPOD_PING_INTERVAL": str(max(1, round(ping_s)) * 1000),
        "RUNPOD_AI_API_KEY": worker.key,
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": env.get("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true"),  # one asks the internet
    }
