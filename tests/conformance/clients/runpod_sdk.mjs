// Every method of the JavaScript client, side by side; what they gave or threw, as one line of JSON.
import runpodSdk from "runpod-sdk";

const [sync, generator, sleeping, failing, parked] = process.argv.slice(2);
const options = { baseUrl: process.env.RUNPOD_ENDPOINT_BASE_URL };
const runpod = runpodSdk(process.env.CONFORMANCE_KEY, options);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
console.log = () => {}; // the client prints, too

async function runAndStatus() {
  const endpoint = runpod.endpoint(sync);
  const first = await endpoint.run({ input: { prompt: "a" } });
  let last = await endpoint.status(first.id);
  while (!last.completed) {
    await pause(100);
    last = await endpoint.status(first.id);
  }
  return { first, last };
}

const runSync = () => runpod.endpoint(sync).runSync({ input: { prompt: "b" } });

const runSyncWithOtherFields = () =>
  runpod.endpoint(sync).runSync({ input: { prompt: "c" }, policy: { executionTimeout: 60000, lowPriority: false } });

const runSyncTimesOut = () => runpod.endpoint(parked).runSync({ input: { prompt: "d" } }, 1000);

async function statusSync() {
  const endpoint = runpod.endpoint(sleeping);
  const { id } = await endpoint.run({ input: { seconds: 1 } });
  return endpoint.statusSync(id);
}

async function stream() {
  const endpoint = runpod.endpoint(generator);
  const { id } = await endpoint.run({ input: { count: 3, pause: 0.1 } });
  const chunks = [];
  for await (const chunk of endpoint.stream(id)) chunks.push(chunk);
  return chunks;
}

async function cancel() {
  const endpoint = runpod.endpoint(parked);
  const { id } = await endpoint.run({ input: { prompt: "e" } });
  const answer = await endpoint.cancel(id);
  return { id, answer, status: await endpoint.status(id) };
}

const failed = () => runpod.endpoint(failing).runSync({ input: { way: "error" } });

const health = () => runpod.endpoint(sync).health();

const wrongKey = () => runpodSdk("wrong", options).endpoint(sync).run({ input: { prompt: "f" } });

async function purgeQueue() {
  const endpoint = runpod.endpoint(parked);
  await endpoint.run({ input: { prompt: "g" } });
  return endpoint.purgeQueue();
}

async function outcome(part) {
  try {
    return await part();
  } catch (error) {
    return { thrown: error.constructor.name, status: error.response?.status, message: error.message };
  }
}

const told = {};
const parts = [
  runAndStatus, runSync, runSyncWithOtherFields, runSyncTimesOut, statusSync, stream, cancel, failed, health, wrongKey,
];
await Promise.all(parts.map(async (part) => (told[part.name] = await outcome(part))));
told.purgeQueue = await outcome(purgeQueue); // alone: it would take the jobs of the others away
process.stdout.write(JSON.stringify(told) + "\n");
