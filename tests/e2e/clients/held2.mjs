// The TypeScript SDK 2.x calls a tool that waits for an approval, in the modern era: `node held2.mjs URL TOKEN SECONDS`.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, token, seconds] = process.argv.slice(2);
const requestInit = { headers: { Authorization: `Bearer ${token}`, "X-Approval-Wait": seconds } };
const client = new Client({ name: "wardgate-e2e", version: "1" }, { versionNegotiation: { mode: "auto" } });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
const result = await client.callTool({ name: "get_customer", arguments: { number: 7 } });
const protocol = client.getNegotiatedProtocolVersion();
console.log(JSON.stringify({ isError: result.isError, text: result.content[0].text, protocol }));
process.exit(0);
