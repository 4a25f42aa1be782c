// The TypeScript SDK 1.x calls a tool that waits for an approval: `node held1.mjs URL TOKEN` prints how that ended.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, token] = process.argv.slice(2);
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
const client = new Client({ name: "wardgate-e2e", version: "1" });
// By itself it tries twice more; a gateway that starts on a busy machine takes longer.
const reconnectionOptions = { maxRetries: 30 };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit, reconnectionOptions }));
const options = { timeout: 60_000 };
const result = await client.callTool({ name: "get_customer", arguments: { number: 7 } }, undefined, options);
console.log(JSON.stringify({ isError: result.isError, text: result.content[0].text }));
process.exit(0);
