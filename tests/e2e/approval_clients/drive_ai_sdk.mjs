// The AI SDK's client.

import { createMCPClient } from "@ai-sdk/mcp";

import { drive } from "./drive.mjs";

await drive(async (url, headers) => {
  const client = await createMCPClient({ transport: { type: "http", url, headers } });
  const tools = await client.tools();
  return {
    close: () => client.close(),
    call: async (name, given, abortSignal) => {
      const result = await tools[name].execute(given, { toolCallId: "1", messages: [], abortSignal });
      return { isError: result.isError, text: result.content[0].text };
    },
  };
});
