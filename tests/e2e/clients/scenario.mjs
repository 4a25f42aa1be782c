// What both TypeScript clients do: `node ts1.mjs URL TOKEN` prints what the client saw as one JSON document.

const text = (result) => result.content[0].text;

async function refused(call) {
  try {
    await call;
  } catch (error) {
    return { code: error.code, message: error.message };
  }
  return "no error";
}

/** Drive a connected client; `callTool(params, options)` hides how the two SDKs order their arguments. */
export async function drive(client, callTool, protocol) {
  const saw = {
    protocol,
    instructions: client.getInstructions(),
    tools: (await client.listTools()).tools.map((tool) => tool.name),
    prompts: (await client.listPrompts()).prompts.map((prompt) => prompt.name),
    resources: (await client.listResources()).resources.map((resource) => resource.uri),
  };
  const customer = await callTool({ name: "get_customer", arguments: { number: 7 } });
  saw.json = { structured: customer.structuredContent, text: text(customer) };
  const progress = [];
  const onprogress = (step) => progress.push([step.progress, step.total, step.message]);
  const report = await callTool({ name: "stream_report", arguments: {} }, { onprogress });
  saw.stream = { progress, text: text(report) };
  const prompt = await client.getPrompt({ name: "welcome", arguments: { name: "Bob" } });
  saw.prompt = prompt.messages[0].content.text;
  saw.resource = (await client.readResource({ uri: "customers://ada" })).contents[0].text;
  const denied = await callTool({ name: "delete_customer", arguments: { number: 7 } });
  saw.denied = { is_error: denied.isError, text: text(denied) };
  saw.hidden_tool = await refused(callTool({ name: "secret_tool", arguments: {} }));
  saw.hidden_resource = await refused(client.readResource({ uri: "secrets://root" }));
  return saw;
}
