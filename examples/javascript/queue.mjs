/**
 * The queue from separate programs: submit now, fetch the output later, or cancel. Only the request id has to
 * be stored.
 *
 *     export TEMPERA_KEY=$(cat .tempera/key)
 *     node examples/javascript/queue.mjs submit "a small green heart on a white background"
 *     node examples/javascript/queue.mjs status <request id>
 *     node examples/javascript/queue.mjs collect <request id>
 *     node examples/javascript/queue.mjs cancel <request id>
 *
 * `submit` prints the request id; `collect` waits and prints the output. TEMPERA_URL is the address of the
 * platform; default: http://localhost:8080.
 */
import { ApiError, fal } from "@fal-ai/client";

const ENDPOINT = "fal-ai/qwen-image";

fal.config({
  credentials: process.env.TEMPERA_KEY,
  proxyUrl: { url: `${process.env.TEMPERA_URL ?? "http://localhost:8080"}/api/fal/proxy`, when: "always" },
});

const COMMANDS = {
  async submit(prompt) {
    const { request_id: requestId } = await fal.queue.submit(ENDPOINT, { input: { prompt } });
    console.log(requestId);
  },
  async status(requestId) {
    console.log((await fal.queue.status(ENDPOINT, { requestId })).status);
  },
  async collect(requestId) {
    await fal.queue.subscribeToStatus(ENDPOINT, { requestId, mode: "streaming" });
    const { data } = await fal.queue.result(ENDPOINT, { requestId });
    console.log(JSON.stringify(data, null, 2));
  },
  async cancel(requestId) {
    await fal.queue.cancel(ENDPOINT, { requestId });
    console.log("cancel requested");
  },
};

const [command = "", argument] = process.argv.slice(2);
if (!Object.hasOwn(COMMANDS, command) || argument === undefined) {
  console.error(
    "usage: node queue.mjs submit <prompt> | status <request id> | collect <request id> | " +
      "cancel <request id>",
  );
  process.exit(2);
}
try {
  await COMMANDS[command](argument);
} catch (error) {
  if (!(error instanceof ApiError)) throw error;
  // The platform's error: 499 for a cancelled request, 404 for an unknown one, 400 for the cancel of an ended
  // one.
  console.error(`${error.status} ${JSON.stringify(error.body)}`);
  process.exit(1);
}
