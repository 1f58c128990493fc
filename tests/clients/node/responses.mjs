// The AI SDK as its documentation's first example uses it: createOpenAI(…)(model), which asks for responses. Prints what each call yielded.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const openai = createOpenAI({ baseURL: process.argv[2], apiKey: process.argv[3] });
const inputSchema = jsonSchema({ type: "object", properties: { city: { type: "string" } } });
const weather = tool({ description: "The weather", inputSchema, execute: async () => "sunny, 21 degrees" });

const whole = await generateText({ model: openai("demo-chat"), prompt: "Where does the ferry go?", maxRetries: 0 });
const turn = streamText({
  model: openai("demo-tools"), prompt: "The weather in Hangzhou?", tools: { get_weather: weather }, stopWhen: stepCountIs(3), maxRetries: 0,
});
let text = "";
for await (const part of turn.textStream) text += part;
const said = (usage) => [usage.inputTokens, usage.outputTokens];
console.log(JSON.stringify([[whole.text, said(whole.usage)], [text, said(await turn.totalUsage), (await turn.steps).length]]));
