// Libraries built on OpenAI's API, driven like the Python ones (tests/clients/frameworks/driving.py): node frameworks.mjs LIBRARY, jobs on stdin, what was yielded on stdout.
import { createInterface } from "node:readline";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool as langchainTool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const QUESTION = "Tell me a short story.";
const WEATHER = "What is the weather in Paris?";
const report = ({ city }) => `${city}: sunny, 21 degrees`;
const described = { description: "The weather of a city.", schema: z.object({ city: z.string() }) };
const plain = (value) => JSON.parse(JSON.stringify(value ?? null));

// AI SDK: one set of scenarios for any of its providers.

const weather = tool({ description: described.description, inputSchema: described.schema, execute: async (input) => report(input) });
const untimed = (part) => plain({ ...part, response: undefined, request: undefined, performance: undefined, responseTimeMs: undefined });

function aiSDK(provide) {
  const options = (baseURL, apiKey, model, more) => ({ model: provide(baseURL, apiKey, model), maxRetries: 0, ...more });
  const withTools = { prompt: WEATHER, tools: { weather }, stopWhen: isStepCount(2) };
  const generated = async (options) => {
    const { text, usage, steps } = await generateText(options);
    return plain([text, usage, steps.map((step) => [step.toolCalls, step.toolResults, step.finishReason])]);
  };
  const streamed = async (options) => {
    const parts = [];
    for await (const part of streamText(options).fullStream) parts.push(untimed(part));
    return parts;
  };
  return {
    whole: (...target) => generated(options(...target, { prompt: QUESTION })),
    "streamed of each": (...target) => streamed(options(...target, { prompt: QUESTION })),
    tools: (...target) => generated(options(...target, withTools)),
    "tools, streamed": (...target) => streamed(options(...target, withTools)),
  };
}

// LangChain.

const chat = (baseURL, apiKey, model) => new ChatOpenAI({ model, apiKey, maxRetries: 0, configuration: { baseURL } });
const weatherTool = langchainTool(report, { name: "get_weather", ...described });
const answers = (called) => Promise.all(called.tool_calls.map(async (call) => new ToolMessage({ content: await weatherTool.invoke(call.args), tool_call_id: call.id })));
const message = ({ content, tool_calls, usage_metadata, response_metadata }) => plain([content, tool_calls, usage_metadata, response_metadata]);

async function chunks(stream) {
  const all = [];
  for await (const chunk of await stream) all.push(chunk);
  return all;
}

const langchain = {
  whole: async (...target) => message(await chat(...target).invoke(QUESTION)),
  "streamed of each": async (...target) => (await chunks(chat(...target).stream(QUESTION))).map(message),
  tools: async (...target) => {
    const model = chat(...target).bindTools([weatherTool]);
    const called = await model.invoke([new HumanMessage(WEATHER)]);
    return [called, await model.invoke([new HumanMessage(WEATHER), called, ...(await answers(called))])].map(message);
  },
  "tools, streamed": async (...target) => {
    const model = chat(...target).bindTools([weatherTool]);
    const first = await chunks(model.stream([new HumanMessage(WEATHER)]));
    const called = first.reduce((sum, chunk) => sum.concat(chunk));
    return [...first, ...(await chunks(model.stream([new HumanMessage(WEATHER), called, ...(await answers(called))])))].map(message);
  },
};

const libraries = {
  "ai-sdk-openai-compatible": aiSDK((baseURL, apiKey, model) => createOpenAICompatible({ name: "proxy", baseURL, apiKey })(model)),
  "ai-sdk-openai": aiSDK((baseURL, apiKey, model) => createOpenAI({ baseURL, apiKey }).chat(model)),
  "langchain-js": langchain,
};

const library = process.argv[2];
for await (const line of createInterface({ input: process.stdin })) {
  const { targets, models } = JSON.parse(line);
  const results = [];
  for (const [baseURL, key] of targets) {
    const seen = {};
    for (const [name, scenario] of Object.entries(libraries[library])) {
      for (const model of name.endsWith("of each") ? models : models.slice(0, 1)) seen[`${name}: ${model}`] = await scenario(baseURL, key, model);
    }
    results.push(seen);
  }
  process.stdout.write(`${JSON.stringify({ library, results })}\n`);
}
