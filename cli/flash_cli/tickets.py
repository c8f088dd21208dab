"""Jobs by their ids, of whatever endpoint."""

from runpod_flash.calls import Ticket
from runpod_flash.errors import BackendError, JobNotFound
from runpod_flash.session import Session


async def ticket(session: Session, job_id: str) -> Ticket:
    """The ticket of a job of any endpoint; as it is noted where the platform knows jobs by their endpoints only.

    Raises:
        JobNotFound: there is no such job.
        BackendError: neither the platform nor the journal knows its endpoint.
    """
    try:
        endpoint = (await session.facts(job_id))["endpoint"]
    except JobNotFound:
        raise
    except BackendError:
        found = next((each for each in await session.noted() if each.job_id == job_id), None)
        if found is None:
            raise
        return Ticket(job_id, found.endpoint_id, found.endpoint)
    return Ticket(job_id, str(endpoint["id"]), str(endpoint["name"]))
