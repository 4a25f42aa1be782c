// The TypeScript SDK 1.x.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { drive } from "./drive.mjs";

await drive(async (url, headers) => {
  const client = new Client({ name: "approval-clients", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  return {
    close: () => client.close(),
    call: async (name, given, signal) => {
      const result = await client.callTool({ name, arguments: given }, undefined, { signal });
      return { isError: result.isError, text: result.content[0].text };
    },
  };
});
