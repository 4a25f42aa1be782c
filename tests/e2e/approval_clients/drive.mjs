// What the drivers in JavaScript share: the same orders and endings as drive.py.

import { createInterface } from "node:readline";

const say = (entry) => process.stdout.write(`${JSON.stringify(entry)}\n`);

/**
 * Obey orders. `connect(url, headers)` resolves to `{ call, close }`; `call(tool, args, signal)` to `{ isError, text }`.
 */
export async function drive(connect) {
  const [url, token, further] = process.argv.slice(2);
  const headers = { Authorization: `Bearer ${token}`, ...JSON.parse(further) };
  let client = await connect(url, headers);
  let cancelling = null;
  let running = Promise.resolve();

  async function one({ tool, arguments: given }) {
    const began = performance.now();
    cancelling = new AbortController();
    const { signal } = cancelling;
    let said;
    try {
      client ??= await connect(url, headers);
      const { isError, text } = await client.call(tool, given, signal);
      said = { said: "answer", is_error: Boolean(isError), text };
    } catch (error) {
      if (signal.aborted) {
        said = { said: "cancelled" };
      } else {
        said = { said: "gave_up", text: `${error.name}: ${error.message}` };
      }
    }
    say({ ...said, seconds: Math.round((performance.now() - began) / 10) / 100 });
  }

  say({ said: "ready" });
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    if (order.do === "call") running = running.then(() => one(order));
    if (order.do === "cancel") cancelling?.abort("taken back");
    if (order.do === "quit") break;
  }
  await Promise.race([client.close(), new Promise((done) => setTimeout(done, 3000))]).catch(() => {});
  process.exit(0);
}
