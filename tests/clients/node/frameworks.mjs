// Libraries of Node, driven like the Python ones (tests/clients/frameworks/driving.py): node frameworks.mjs LIBRARY WIRE, jobs on stdin, what was yielded on stdout.
import { createInterface } from "node:readline";
import { createAnthropic } from "@ai-sdk/anthropic";
import Anthropic from "@anthropic-ai/sdk";
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

// Anthropic's SDK: whole, as events, and as the message that it assembles of them.

const WEATHER_TOOL = { name: "get_weather", description: described.description, input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } };
const anthropic = (baseURL, apiKey) => new Anthropic({ baseURL: baseURL.replace(/\/v1$/, ""), apiKey, maxRetries: 0 }).messages;
const said = (model, content, more) => ({ model, max_tokens: 500, messages: [{ role: "user", content }], ...more });
const withAnswers = (asked, called) => {
  const results = called.content.filter(({ type }) => type === "tool_use").map(({ id, input }) => ({ type: "tool_result", tool_use_id: id, content: report(input) }));
  return { ...asked, messages: [...asked.messages, { role: "assistant", content: called.content }, { role: "user", content: results }] };
};

async function assembled(messages, asked) {
  const stream = messages.stream(asked);
  const events = [];
  for await (const event of stream) events.push(plain(event));
  return [events, plain(await stream.finalMessage())];
}

const anthropicSDK = {
  whole: async (url, key, model) => plain(await anthropic(url, key).create(said(model, QUESTION))),
  "streamed of each": (url, key, model) => assembled(anthropic(url, key), said(model, QUESTION)),
  tools: async (url, key, model) => {
    const asked = said(model, WEATHER, { tools: [WEATHER_TOOL] });
    const called = await anthropic(url, key).create(asked);
    return plain([called, await anthropic(url, key).create(withAnswers(asked, called))]);
  },
  "tools, streamed": async (url, key, model) => {
    const asked = said(model, WEATHER, { tools: [WEATHER_TOOL] });
    const [events, called] = await assembled(anthropic(url, key), asked);
    return [events, called, await assembled(anthropic(url, key), withAnswers(asked, called))];
  },
};

const libraries = {
  "ai-sdk-openai-compatible chat": aiSDK((baseURL, apiKey, model) => createOpenAICompatible({ name: "proxy", baseURL, apiKey })(model)),
  "ai-sdk-openai chat": aiSDK((baseURL, apiKey, model) => createOpenAI({ baseURL, apiKey }).chat(model)),
  "ai-sdk-openai responses": aiSDK((baseURL, apiKey, model) => createOpenAI({ baseURL, apiKey })(model)),
  "ai-sdk-anthropic messages": aiSDK((baseURL, apiKey, model) => createAnthropic({ baseURL, apiKey })(model)),
  "anthropic-sdk messages": anthropicSDK,
  "langchain-js chat": langchain,
};

async function told(call) {
  try {
    return await call();
  } catch (error) {
    return { raised: [error.name, error.message] };
  }
}

const [library, wire] = process.argv.slice(2);
for await (const line of createInterface({ input: process.stdin })) {
  const { targets, models } = JSON.parse(line);
  const results = [];
  for (const [baseURL, key] of targets) {
    const seen = {};
    for (const [name, scenario] of Object.entries(libraries[`${library} ${wire}`])) {
      for (const model of name.endsWith("of each") ? models : models.slice(0, 1)) {
        seen[`${name}: ${model}`] = await told(() => scenario(baseURL, key, model));
      }
    }
    results.push(seen);
  }
  process.stdout.write(`${JSON.stringify({ library, results })}\n`);
}
