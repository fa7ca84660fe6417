// What an app does with OpenAI's Node SDK, only its base URL changed. Prints what came of it as JSON.
import OpenAI, { toFile } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { createHash } from "node:crypto";
import WebSocket from "ws";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "sk-client", maxRetries: 0 });
const messages = [{ role: "user", content: "nice" }];
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", parameters: schema } }];
const sum = (data) => createHash("sha256").update(data).digest("hex");
const said = {};

async function chats() {
  const { data, response } = await client.chat.completions.create({ model: "fake-mini", messages }).withResponse();
  said.chat = [data.choices[0].message.content, response.headers.get("x-cuecard-route")];
  said.task = (await client.chat.completions.create({ model: "task:sentiment", messages })).choices[0].message.content;
  said.streams = {};
  for (const model of ["fake-mini", "task:sentiment"]) {
    said.streams[model] = "";
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
      said.streams[model] += chunk.choices[0]?.delta?.content ?? "";
  }
}

async function callsTools() {
  const whole = await client.chat.completions.create({ model: "calls-tools", messages, tools });
  const streamed = await client.chat.completions.stream({ model: "streams-tools", messages, tools }).finalChatCompletion();
  said.tools = [whole, streamed].map((done) =>
    done.choices[0].message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]));
  const result = { role: "tool", tool_call_id: whole.choices[0].message.tool_calls[0].id, content: "clear" };
  const then = { model: "after-tools", messages: [...messages, whole.choices[0].message, result], tools };
  said.after = (await client.chat.completions.create(then)).choices[0].message.content;
}

async function parses() {
  const response_format = zodResponseFormat(z.object({ city: z.string(), degrees: z.number() }), "report");
  const request = { model: "in-json", messages, response_format };
  const whole = await client.chat.completions.parse(request);
  const streamed = await client.chat.completions.stream(request).finalChatCompletion();
  said.parsed = [whole, streamed].map((done) => done.choices[0].message.parsed);
}

async function otherPaths() {
  const found = await client.embeddings.create({ model: "fake-mini", input: ["one", "two"] });
  said.embeddings = found.data.map((row) => row.embedding.length);
  said.models = (await client.models.list()).data.map((model) => model.id);
  const data = Buffer.alloc(500_000, "0123456789\n");
  said.file = (await client.files.create({ file: await toFile(data, "a b.jsonl"), purpose: "batch" })).id;
  const content = Buffer.from(await (await client.files.content("file-1")).arrayBuffer());
  said.content = sum(content);
  said.response = (await client.responses.create({ model: "fake-mini", input: "Weather?" })).output_text;
  said.events = [];
  for await (const event of await client.responses.create({ model: "fake-mini", input: "Weather?", stream: true }))
    said.events.push(event.type);
}

// The SDK's own realtime client speaks to wss:// only, whatever the base URL: this is the socket under it.
async function realtime() {
  const url = `${process.argv[2].replace("http", "ws")}/realtime?model=fake-realtime`;
  const socket = new WebSocket(url, ["realtime"], { headers: { Authorization: "Bearer sk-client" } });
  const heard = await new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("message", (data) => resolve(data.toString()));
    socket.on("open", () => socket.send(JSON.stringify({ type: "response.cancel", event_id: "e1" })));
  });
  said.realtime = [socket.protocol, JSON.parse(heard)];
  socket.close();
}

async function fails() {
  said.errors = {};
  for (const model of ["fails-401", "fails-429", "fails-500", "task:nope"]) {
    try { await client.chat.completions.create({ model, messages }); } catch (error) {
      said.errors[model] = [error.constructor.name, error.status, error.headers.get("retry-after")];
    }
  }
}

await chats(); // before the 429 below, which stops the compile that its task model waits for
await Promise.all([callsTools(), parses(), otherPaths(), realtime(), fails()]);
console.log(JSON.stringify(said));
