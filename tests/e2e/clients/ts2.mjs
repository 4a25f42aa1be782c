// Drive the TypeScript SDK 2.x through the gateway in the modern era: `node ts2.mjs URL TOKEN`.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { drive } from "./scenario.mjs";

const [url, token] = process.argv.slice(2);
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit });
// "auto" asks the server first and would fall back to the older era if the gateway broke that question.
const options = { versionNegotiation: { mode: "auto" } };
const client = new Client({ name: "wardgate-e2e", version: "1" }, options);
await client.connect(transport);
const callTool = (params, extra) => client.callTool(params, { timeout: 20_000, ...extra });
const saw = await drive(client, callTool, client.getNegotiatedProtocolVersion());
await client.close();
console.log(JSON.stringify(saw));
