// Conversations in this browser: IndexedDB, one entry each. Where the browser keeps nothing (private windows may forbid
// it) they live in memory and the page says so. Export and import speak `Conversation` records in JSON lines, the form
// that `phi chat` saves and training reads.

const NAME = "phidelity";
const ROLES = ["system", "user", "assistant"];

export class Store {
  constructor(database) {
    this.database = database;
    this.memory = new Map();
  }

  static async open() {
    try {
      const opening = indexedDB.open(NAME, 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore("conversations", { keyPath: "id" });
      return new Store(await answered(opening));
    } catch {
      return new Store(null);
    }
  }

  get isLasting() {
    return this.database !== null;
  }

  // Newest first.
  async all() {
    const found = this.database ? await answered(this.table("readonly").getAll()) : [...this.memory.values()];
    return found.sort((a, b) => b.updated - a.updated);
  }

  async put(conversation) {
    if (!this.database) this.memory.set(conversation.id, conversation);
    else await answered(this.table("readwrite").put(conversation));
  }

  async remove(id) {
    if (!this.database) this.memory.delete(id);
    else await answered(this.table("readwrite").delete(id));
  }

  table(mode) {
    return this.database.transaction("conversations", mode).objectStore("conversations");
  }
}

// What an answer had said when the page was left: kept at once, which a database does not promise at that moment.
export function keepUnsaved(conversation) {
  sessionStorage.setItem("phidelity.unsaved", JSON.stringify(conversation));
}

export function withUnsaved(conversations) {
  const kept = JSON.parse(sessionStorage.getItem("phidelity.unsaved") ?? "null");
  sessionStorage.removeItem("phidelity.unsaved");
  return kept ? [kept, ...conversations.filter((one) => one.id !== kept.id)] : conversations;
}

function answered(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

export function fresh(settings = {}) {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, system: "", settings: { ...settings }, turns: [] };
}

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function titleOf(conversation) {
  const first = conversation.turns.find((turn) => turn.role === "user")?.content.trim().replace(/\s+/g, " ") ?? "";
  const short = [...first].slice(0, 60).join("");
  return conversation.title || short + (short.length < first.length ? "…" : "") || "New conversation";
}

export function asRecords(conversations) {
  return conversations.map((one) => {
    const head = one.system ? [{ role: "system", content: one.system }] : [];
    const messages = [...head, ...one.turns.map(({ role, content }) => ({ role, content }))];
    const meta = { title: titleOf(one), created: new Date(one.created).toISOString(), settings: one.settings };
    return `${JSON.stringify({ id: one.id, messages, source: "chat", meta })}\n`;
  }).join("");
}

// Conversations of a file: JSON lines, one object, or a list. Every mistake is told with its place.
export function fromRecords(text, settings) {
  const lines = text.split("\n").map((line, i) => [line.trim(), i + 1]).filter(([line]) => line);
  if (!lines.length) throw new Error("The file is empty; expected conversations as JSON lines.");
  let whole = null;
  try { whole = JSON.parse(text); } catch { /* then it is line by line */ }
  if (whole) return (Array.isArray(whole) ? whole : [whole]).map((record, i) => fromRecord(record, `Entry ${i + 1}`, settings));
  return lines.map(([line, number]) => {
    let record;
    try { record = JSON.parse(line); } catch { throw new Error(`Line ${number} is not valid JSON; expected one conversation a line.`); }
    return fromRecord(record, `Line ${number}`, settings);
  });
}

function fromRecord(record, where, settings) {
  const messages = record?.messages;
  const isFine = Array.isArray(messages) && messages.length > 0 &&
    messages.every((one) => ROLES.includes(one?.role) && typeof one.content === "string");
  if (!isFine) throw new Error(`${where} is no conversation; expected "messages", each with a role (${ROLES.join(", ")}) and content.`);
  const system = messages[0].role === "system" ? messages[0].content : "";
  const turns = messages.slice(system || messages[0].role === "system" ? 1 : 0).map(({ role, content }) => ({ role, content }));
  if (turns.some((turn) => turn.role === "system")) throw new Error(`${where} has a system message amid the turns; expected it first.`);
  const title = typeof record.meta?.title === "string" ? record.meta.title.slice(0, 200) : "";
  return { ...fresh(settings), title, system, turns };
}
