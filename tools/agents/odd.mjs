// Plays every odd shape through the AI SDK: node odd.mjs <url> <key> <file of shapes>.
// The file is a list of {model, text, calls, usage, stop}; what differs is printed, a line each.
import { readFileSync } from "node:fs";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [url, apiKey, file] = process.argv.slice(2);
const shapes = JSON.parse(readFileSync(file, "utf8"));
const options = { baseURL: `${url}/v1`, apiKey };
const providers = {
  chat: createOpenAICompatible({ name: "jusinfer", includeUsage: true, ...options }),
  responses: createOpenAI(options).responses,
  messages: createAnthropic(options),
  openrouter: (id) => createOpenRouter(options)(id, { usage: { include: true } }),
};
const ran = (name) => async (given) => `${name} of ${JSON.stringify(given)}`;
const tools = {
  get_weather: tool({ inputSchema: z.object({ city: z.string() }), execute: ran("get_weather") }),
  get_time: tool({ inputSchema: z.object({ zone: z.string() }), execute: ran("get_time") }),
  ping: tool({ inputSchema: z.object({}), execute: ran("ping") }),
};

async function play(model, isStream) {
  const asked = {
    model,
    tools,
    prompt: "Say hello.",
    stopWhen: stepCountIs(3),
    maxRetries: 0,
    providerOptions: { openai: { store: false } },
  };
  if (!isStream) return (await generateText(asked)).steps;
  const errors = [];
  const result = streamText({ ...asked, onError: ({ error }) => errors.push(error) });
  await result.consumeStream({ onError: (error) => errors.push(error) });
  if (errors.length) throw errors[0];
  return result.steps;
}

function judge(shape, steps) {
  const [first, ...rest] = steps;
  const ids = first.toolCalls.map((call) => call.toolCallId);
  const found = {
    text: first.text,
    calls: first.toolCalls.map((call) => [call.toolName, call.input]),
    stop: first.finishReason,
    areIdsGood: ids.every(Boolean) && new Set(ids).size === ids.length,
    isUsed: first.usage.inputTokens > 0 && first.usage.outputTokens > 0,
    last: rest.map((step) => step.text),
  };
  const wanted = {
    text: shape.text,
    calls: shape.calls,
    stop: { calls: "tool-calls" }[shape.stop] ?? shape.stop,
    areIdsGood: true,
    isUsed: true,
    last: shape.calls.length ? [shape.last] : [],
  };
  if (shape.usage[1] > 0) {
    found.usage = [first.usage.inputTokens, first.usage.outputTokens];
    wanted.usage = shape.usage;
  }
  return Object.keys(wanted)
    .filter((name) => JSON.stringify(found[name]) !== JSON.stringify(wanted[name]))
    .map((name) => `${name} is ${JSON.stringify(found[name])}, not ${JSON.stringify(wanted[name])}`);
}

let played = 0;
for (const [api, provider] of Object.entries(providers)) {
  for (const shape of shapes) {
    for (const isStream of [true, false]) {
      played += 1;
      const place = `${api} ${shape.model} ${isStream ? "stream" : "whole"}`;
      try {
        const wrong = judge(shape, await play(provider(shape.model), isStream));
        if (wrong.length) console.log(`${place}: ${wrong.join("; ")}`);
      } catch (error) {
        console.log(`${place}: ${error.name}: ${error.message}`.slice(0, 300));
      }
    }
  }
}
console.log(`played ${played}`);
