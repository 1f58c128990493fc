// Runs calls through the official Node SDK. Each line of stdin is {"targets": [{"baseURL", "apiKey"}], "cases": [...], "maxRetries"}; each line of stdout holds
// for each target the list of what was seen.
import { createInterface } from "node:readline";
import OpenAI from "openai";

const plain = (value) => JSON.parse(JSON.stringify(value ?? null));

function failure(error) {
  const { status = null, code = null, param = null, message } = error;
  return { type: error.constructor.name, status, code, param, message, headers: Object.fromEntries(error.headers ?? []) };
}

async function call(client, { name, endpoint, body }) {
  const seen = { name, endpoint, body, parsed: null, error: null, id: null, headers: [] };
  try {
    const pending =
      endpoint === "models" ? (body.model ? client.models.retrieve(body.model) : client.models.list())
      : endpoint === "embeddings" ? client.embeddings.create(body)
      : endpoint === "responses" ? client.responses.create(body)
      : endpoint === "completions" ? client.completions.create(body)
      : client.chat.completions.create(body);
    const { data, response } = await pending.withResponse();
    seen.headers = [...response.headers];
    seen.id = response.headers.get("x-tollkeeper-id");
    if (!body.stream) {
      // A page of a list is more than what came: the request, the client.
      seen.parsed = plain(data.data && data.body ? data.body : data);
    } else {
      seen.parsed = [];
      for await (const chunk of data) seen.parsed.push(plain(chunk));
    }
  } catch (error) {
    seen.error = failure(error);
    if (error.status) seen.headers = [...error.headers];
    seen.id ??= seen.error.headers["x-tollkeeper-id"] ?? null;
  }
  return seen;
}

async function run(client, cases) {
  const seen = [];
  for (const one of cases) {
    const first = await call(client, one);
    seen.push(first);
    if (one.then?.length && first.parsed && !one.body.stream) {
      const messages = [...one.body.messages, first.parsed.choices[0].message, ...one.then];
      seen.push(await call(client, { ...one, body: { ...one.body, messages } }));
    }
  }
  return seen;
}

for await (const line of createInterface({ input: process.stdin })) {
  const { targets, cases, maxRetries } = JSON.parse(line);
  const results = [];
  for (const target of targets) results.push(await run(new OpenAI({ ...target, maxRetries }), cases));
  process.stdout.write(`${JSON.stringify(results)}\n`);
}
