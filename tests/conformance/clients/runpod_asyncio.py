"""Every method of the asyncio client."""

import asyncio
import sys

import runpod
from runpod import AsyncioEndpoint, http_client
from telling import KEY, tell

runpod.api_key = KEY
SYNC, GENERATOR, SLEEPING, FAILING, PARKED = sys.argv[1:]


async def run_status_output():
    async with http_client.AsyncClientSession() as session:
        job = await AsyncioEndpoint(SYNC, session).run({"prompt": "a"})
        first = await job.status()
        return {"id": job.job_id, "first": first, "output": await job.output(timeout=90), "last": await job.status()}


async def key_of_the_endpoint():
    async with http_client.AsyncClientSession() as session:
        job = await AsyncioEndpoint(SYNC, session, api_key=KEY).run({"prompt": "b"})
        return await job.output(timeout=90)


async def many_at_once():
    async with http_client.AsyncClientSession() as session:
        endpoint = AsyncioEndpoint(SYNC, session)
        jobs = await asyncio.gather(*(endpoint.run({"prompt": f"p{number}"}) for number in range(5)))
        outputs = await asyncio.gather(*(job.output(timeout=90) for job in jobs))
        return [output["said"] for output in outputs]


async def stream():
    async with http_client.AsyncClientSession() as session:
        job = await AsyncioEndpoint(GENERATOR, session).run({"count": 3, "pause": 0.1})
        return [chunk async for chunk in job.stream()]


async def cancel():
    async with http_client.AsyncClientSession() as session:
        job = await AsyncioEndpoint(PARKED, session).run({"prompt": "c"})
        return {"id": job.job_id, "answer": await job.cancel(), "status": await job.status()}


async def cancel_while_it_runs():
    async with http_client.AsyncClientSession() as session:
        job = await AsyncioEndpoint(SLEEPING, session).run({"seconds": 60})
        while await job.status() == "IN_QUEUE":
            await asyncio.sleep(0.2)
        before = await job.status()
        return {"before": before, "answer": (await job.cancel())["status"], "status": await job.status()}


async def output_times_out():
    async with http_client.AsyncClientSession() as session:
        job = await AsyncioEndpoint(PARKED, session).run({"prompt": "d"})
        return await job.output(timeout=1)


async def failed():
    async with http_client.AsyncClientSession() as session:
        job = await AsyncioEndpoint(FAILING, session).run({"way": "raise"})
        return {"output": await job.output(timeout=90), "status": await job.status()}


async def health():
    async with http_client.AsyncClientSession() as session:
        return await AsyncioEndpoint(SYNC, session).health()


async def purge_queue():
    """Last, and alone: it would take the jobs of the others away."""
    async with http_client.AsyncClientSession() as session:
        endpoint = AsyncioEndpoint(PARKED, session)
        await endpoint.run({"prompt": "e"})
        return await endpoint.purge_queue()


ALL = [
    run_status_output, key_of_the_endpoint, many_at_once, stream, cancel, cancel_while_it_runs, output_times_out,
    failed, health,
]  # fmt: skip

if __name__ == "__main__":
    tell(ALL, [purge_queue])
