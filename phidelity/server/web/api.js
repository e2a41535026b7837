// Speaking with the server: OpenAI's chat completions as a stream, and what goes wrong in plain words.

export class Trouble extends Error {
  constructor(message, { kind = "", wait = 0 } = {}) {
    super(message);
    this.kind = kind; // "gone", "key", "context", "busy", "loading", "broken" or ""
    this.wait = wait; // seconds after which trying again makes sense
  }
}

function headers(key) {
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(`The server at ${location.host} cannot be reached. Is phi serve still running?`, { kind: "gone" });
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function model(key) {
  const found = await (await ask("/v1/models", { headers: headers(key) })).json();
  return found.data[0];
}

async function refusal(response) {
  let error = {};
  try { error = (await response.json()).error ?? {}; } catch { /* a proxy may answer with a page of its own */ }
  const said = typeof error.message === "string" ? error.message : "";
  const wait = Math.min(Number(response.headers.get("Retry-After")) || 0, 600);
  switch (response.status) {
    case 401: case 403: return new Trouble("This server asks for a key. Enter it under Settings, then try again.", { kind: "key" });
    case 429: return new Trouble("The server has as many answers under way as it can.", { kind: "busy", wait: wait || 5 });
    case 503: return new Trouble(said || "The server is not ready yet.", { kind: "loading", wait: wait || 2 });
    default: break;
  }
  if (error.code === "context_length_exceeded") return new Trouble(overContext(said), { kind: "context" });
  if (response.status >= 500) return new Trouble(`The server failed (${response.status}). ${said}`);
  return new Trouble(said ? `The server refused this: ${said}` : `The server refused this (${response.status}).`);
}

function overContext(said) {
  const room = /(?:length is|holds) ([\d,]+)/.exec(said)?.[1];
  const used = /has ([\d,]+) tokens/.exec(said)?.[1];
  if (!room || !used) return said;
  return `The conversation has grown to ${used} tokens. This model reads ${room} at most, its answer included.`;
}

// The answer as it comes: {text, tokens, finish, usage, timings, progress}, each where there is news of it.
export async function* chat(body, key, signal) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await ask("/v1/chat/completions", { method: "POST", headers: headers(key), body: JSON.stringify(asked), signal });
  let isWhole = false;
  try {
    for await (const line of lines(response.body)) {
      if (line === "data: [DONE]") isWhole = true;
      else if (line.startsWith("data: ")) yield news(JSON.parse(line.slice(6)));
      else if (line.startsWith(": prompt ")) yield { progress: line.slice(9).split("/").map(Number) };
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Trouble) throw error;
    throw new Trouble("The connection broke off. What had arrived is kept.", { kind: "broken" });
  }
  if (!isWhole) throw new Trouble("The answer broke off before its end. What had arrived is kept.", { kind: "broken" });
}

function news(data) {
  if (data.error) throw new Trouble(`The server gave up: ${data.error.message ?? "it does not say why"}`, { kind: "broken" });
  const choice = data.choices?.[0];
  return {
    text: choice?.delta?.content ?? "",
    tokens: choice?.logprobs?.content ?? [],
    finish: choice?.finish_reason ?? "",
    usage: data.usage ?? null,
    timings: data.timings ?? null,
  };
}

// Lines of a stream of bytes; characters that are cut by its pieces are put together.
async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let parts = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const split = value.split("\n");
    parts.push(split[0]);
    if (split.length > 1) {
      yield parts.join("").replace(/\r$/, "");
      for (const line of split.slice(1, -1)) yield line.replace(/\r$/, "");
      parts = [split.at(-1)];
    }
  }
}
