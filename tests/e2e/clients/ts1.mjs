// Drive the TypeScript SDK 1.x through the gateway: `node ts1.mjs URL TOKEN`.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { drive } from "./scenario.mjs";

const [url, token] = process.argv.slice(2);
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit });
const client = new Client({ name: "wardgate-e2e", version: "1" });
await client.connect(transport);
const callTool = (params, options) => client.callTool(params, undefined, { timeout: 20_000, ...options });
const saw = await drive(client, callTool, transport.protocolVersion);
await transport.terminateSession();
await client.close();
console.log(JSON.stringify(saw));
