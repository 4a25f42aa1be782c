// The TypeScript SDK 2.x; "legacy" or "auto" after the headers is the era that it negotiates.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { drive } from "./drive.mjs";

await drive(async (url, headers) => {
  const options = { versionNegotiation: { mode: process.argv[5] } };
  const client = new Client({ name: "approval-clients", version: "1" }, options);
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  return {
    close: () => client.close(),
    call: async (name, given, signal) => {
      const result = await client.callTool({ name, arguments: given }, { signal });
      return { isError: result.isError, text: result.content[0].text };
    },
  };
});
