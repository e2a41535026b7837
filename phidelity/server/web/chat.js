// The chat window: which conversation is open, what a person does with it, and the one answer that may be under way.
// Everything a model says is shown through turn.js and markdown.js, which make nodes of text and never parse HTML.

import { receive } from "./answer.js";
import { Trouble, model as findModel } from "./api.js";
import { $, count, h, number } from "./dom.js";
import { Settings, requestOf } from "./settings.js";
import { Store, fresh, fromRecords, keepUnsaved, titleOf, withUnsaved } from "./store.js";
import { TurnView } from "./turn.js";
import { bindPage, download, setOpen, toast } from "./page.js";

const EXAMPLES = ["Explain why the sky is blue in three sentences.", "Prove that there are infinitely many primes.",
  "Write a Python function that merges two sorted lists."];
const MINIATURE_EXAMPLES = ["Mia has 3 apples and gets 4 more. How many apples does Mia have?", "What is 27 + 15?"];

const app = {
  store: null,
  model: null,
  conversations: [],
  open: null, // the conversation that is shown
  views: [],
  live: null, // the answer under way: {conversation, turn, abort}
};
const settings = new Settings(() => save(app.open));
const removed = new WeakSet(); // conversations that an answer under way must not bring back

async function start() {
  bindPage({ fresh: begin, regenerate, editLast, stop, copyLast: () => press("Copy"), tokens: () => press("Tokens"), exportAll, importFile });
  $("composer").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  $("stop").addEventListener("click", stop);
  $("new").addEventListener("click", begin);
  $("delete").addEventListener("click", remove);
  $("export").addEventListener("click", () => download([app.open], titleOf(app.open)));
  $("rename-button").addEventListener("click", rename);
  $("key").value = sessionStorage.getItem("phidelity.key") ?? "";
  $("key").addEventListener("change", () => { sessionStorage.setItem("phidelity.key", $("key").value); meet(); });
  app.store = await Store.open();
  app.conversations = withUnsaved(await app.store.all());
  addEventListener("pagehide", () => { if (app.live) keepUnsaved(app.live.conversation); });
  for (const one of app.conversations) settle(one);
  if (!app.store.isLasting) toast("This browser keeps nothing for this page: conversations last until the tab is closed.");
  const last = app.conversations.find((one) => one.id === location.hash.slice(1)) ?? app.conversations[0];
  show(last ?? fresh());
  await meet();
  document.documentElement.dataset.ready = "1";
}

// An answer that was under way when the page was left has ended there.
function settle(conversation) {
  const last = conversation.turns.at(-1);
  if (last?.role === "assistant" && !last.figures) last.figures = { finish: "stopped" };
}

// Learns what is served; goes on asking while the server is away or loading.
async function meet() {
  try {
    app.model = await findModel($("key").value);
    $("trouble").hidden = true;
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    $("model-line").textContent = error.message;
    if (error.kind === "key") askForKey();
    else setTimeout(meet, 1000 * Math.max(error.wait, 3));
    return;
  }
  describe();
  show(app.open);
}

function describe() {
  const { id, notice = "", parameters, max_model_len: room } = app.model;
  const isMiniature = notice.includes("miniature");
  $("notice").hidden = !isMiniature;
  $("notice").textContent = isMiniature ? `You talk with a ${notice.replace(/^A /, "")}. It knows the small world it was taught and errs often.` : "";
  $("model-line").textContent = [id, room ? `reads ${count(room, "token")}` : ""].filter(Boolean).join(" · ");
  const facts = { Model: id, Parameters: parameters ? number(parameters) : "", Context: room ? count(room, "token") : "", Digest: app.model.digest?.slice(0, 16) };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  $("examples").replaceChildren(...(isMiniature ? MINIATURE_EXAMPLES : EXAMPLES).map((text) =>
    h("li", {}, h("button", { type: "button", class: "example", onclick: () => ask(text) }, text))));
  if (isMiniature && app.open.turns.length === 0 && app.open.settings.temperature === undefined) app.open.settings.temperature = 0;
}

// ---- which conversation is open ------------------------------------------------------------------------------------

function show(conversation) {
  app.open = conversation;
  history.replaceState(null, "", conversation.turns.length ? `#${conversation.id}` : location.pathname + location.search);
  settings.show(conversation, app.model?.max_model_len);
  $("trouble").hidden = true;
  $("welcome").hidden = conversation.turns.length > 0;
  layTurns();
  layList();
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

function layTurns() {
  const { turns } = app.open;
  const name = app.model?.id ?? "Model";
  const isFree = !app.live;
  app.views = turns.map((turn, i) => {
    const isLast = i === turns.length - 1;
    const isLive = app.live?.turn === turn;
    return new TurnView(turn, name, {
      edit: turn.role === "user" && isFree ? (text) => resend(i, text) : null,
      regenerate: turn.role === "assistant" && isLast && isFree && !isLive ? regenerate : null,
    });
  });
  $("turns").replaceChildren(...app.views.map((view) => view.element));
  if (app.live?.conversation === app.open) app.views.at(-1).wait("Writing");
  $("send").hidden = Boolean(app.live);
  $("stop").hidden = !app.live;
}

function layList() {
  $("title").textContent = titleOf(app.open);
  document.title = app.open.turns.length ? `${titleOf(app.open)} · Phidelity` : "Phidelity";
  $("acts").hidden = app.open.turns.length === 0;
  $("list").replaceChildren(...app.conversations.map((one) => h("li", {}, h("button", {
    type: "button", class: "entry", "aria-current": one.id === app.open.id ? "true" : null,
    onclick: () => { show(one); setOpen("side", false); },
  }, titleOf(one), h("small", {}, new Date(one.updated).toLocaleDateString())))));
}

function begin() {
  const { temperature, top_p, min_p, max_tokens, logprobs } = app.open.settings;
  show(fresh(JSON.parse(JSON.stringify({ temperature, top_p, min_p, max_tokens, logprobs }))));
  if (app.model) describe();
  setOpen("side", false);
  $("message").focus();
}

// Keeps a conversation that has turns; a full disk is told once and loses nothing that is on the page.
async function save(conversation) {
  if (!conversation.turns.length || removed.has(conversation)) return;
  if (!app.conversations.includes(conversation)) app.conversations.unshift(conversation);
  try {
    await app.store.put(conversation);
  } catch (error) {
    toast(`This conversation cannot be kept (${error.name}). Export it, or delete others to make room.`);
  }
}

async function remove() {
  const gone = app.open;
  removed.add(gone);
  if (app.live?.conversation === gone) stop();
  app.conversations = app.conversations.filter((one) => one !== gone);
  await app.store.remove(gone.id);
  show(app.conversations[0] ?? fresh(gone.settings));
  toast("Deleted.", "Undo", async () => {
    removed.delete(gone);
    await save(gone);
    show(gone);
  });
  $("message").focus();
}

function rename() {
  const field = $("rename");
  const conversation = app.open;
  const done = (isKept) => {
    if (field.hidden) return;
    field.hidden = true;
    $("title").hidden = false;
    if (isKept) conversation.title = field.value.trim();
    save(conversation);
    layList();
    $("rename-button").focus();
  };
  field.value = titleOf(app.open);
  field.hidden = false;
  $("title").hidden = true;
  field.onblur = () => done(true);
  field.onkeydown = (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault(); // else Enter presses the button that gets the focus
    event.stopPropagation();
    done(event.key === "Enter");
  };
  field.select();
}

function exportAll() {
  if (!app.conversations.length) toast("There is nothing to export yet.");
  else download(app.conversations, "conversations");
}

async function importFile(file) {
  try {
    const found = fromRecords(await file.text(), app.open.settings);
    for (const one of found) await save(one);
    app.conversations.sort((a, b) => b.updated - a.updated);
    show(found[0]);
    toast(`${count(found.length, "conversation")} imported.`);
  } catch (error) {
    toast(`${file.name}: ${error.message}`);
  }
}

// ---- asking --------------------------------------------------------------------------------------------------------

// Whether an answer may begin: one at a time, and with settings as they are shown. Tells why not.
function isFree() {
  const wrong = settings.wrong();
  if (app.live) toast("An answer is being written. Stop it, or wait for its end.");
  else if (wrong) {
    setOpen("settings", true);
    toast(`A setting cannot be kept to: ${wrong.validationMessage}`);
    wrong.focus();
  }
  return !app.live && !wrong;
}

function submit() {
  const text = $("message").value;
  if (!text.trim() || !isFree()) return;
  $("message").value = "";
  ask(text);
}

function ask(text) {
  if (!isFree()) return;
  app.open.turns.push({ role: "user", content: text });
  answer();
}

function resend(i, text) {
  if (!isFree()) return;
  app.open.turns = [...app.open.turns.slice(0, i), { role: "user", content: text }];
  answer();
}

function regenerate() {
  if (!app.open.turns.length || !isFree()) return;
  if (app.open.turns.at(-1).role === "assistant") app.open.turns.pop();
  const { temperature, seed } = app.open.settings;
  if (temperature === 0) toast("At temperature 0 the same answer comes again. Raise it under Settings to see others.");
  else if (typeof seed === "number") toast("With a seed the same answer comes again. Clear it under Settings to see others.");
  answer();
}

function editLast() {
  if (!app.live) app.views.findLast((view) => view.isUser)?.edit();
}

function stop() {
  app.live?.abort.abort();
}

// Streams an answer to the last turn of the open conversation.
async function answer() {
  const conversation = app.open;
  const body = requestOf(conversation, app.model?.id);
  const turn = { role: "assistant", content: "" };
  app.live = { conversation, turn, abort: new AbortController() };
  conversation.turns.push(turn);
  conversation.updated = Date.now();
  save(conversation);
  show(conversation);
  app.views.at(-1).wait("Waiting for the first token");
  tell("The answer is being written.");
  let trouble = null;
  try {
    await receive(turn, body, {
      key: $("key").value,
      signal: app.live.abort.signal,
      view: () => (app.open === conversation ? app.views.find((one) => one.turn === turn) : null),
      save: () => save(conversation),
    });
  } catch (error) {
    if (error.name !== "AbortError") trouble = error;
    turn.figures = { ...turn.figures, finish: trouble ? "broken" : "stopped" };
    if (!(error instanceof Trouble) && error.name !== "AbortError") console.error(error);
  }
  app.live = null;
  if (!turn.content) conversation.turns.pop();
  await save(conversation);
  const isShown = app.open === conversation;
  if (isShown) finish(turn, trouble);
  else layTurns();
  layList();
}

function finish(turn, trouble) {
  const scroll = $("scroll").scrollTop;
  layTurns();
  $("scroll").scrollTop = scroll;
  if (trouble) explain(trouble);
  else if (!turn.content) offer("Stopped before the answer began.", [["Try again", retry]]);
  else tell(turn.content.length < 600 ? `Answer: ${turn.content}` : `The answer is there, ${count(turn.content.split(/\s+/).length, "word")}.`);
}

// ---- what went wrong -----------------------------------------------------------------------------------------------

function explain(trouble) {
  if (!(trouble instanceof Trouble)) return offer(`This page failed: ${trouble.message}`, [["Try again", retry]]);
  if (trouble.kind === "key") askForKey();
  if (trouble.kind === "context") return offer(trouble.message, [["Ask in a new conversation", askAnew], ["Edit the message", editLast]]);
  return offer(trouble.message, [["Try again", retry]], trouble.wait);
}

function retry() {
  if (!isFree()) return;
  if (app.open.turns.at(-1)?.role === "assistant") app.open.turns.pop();
  answer();
}

function askAnew() {
  if (!isFree()) return;
  const question = app.open.turns.findLast((turn) => turn.role === "user").content;
  app.open.turns.pop();
  save(app.open);
  begin();
  ask(question);
}

// A box with a message and what can be done; with `wait` the first way opens after so many seconds.
function offer(message, ways, wait = 0) {
  const buttons = ways.map(([label, act]) => h("button", { type: "button", class: "small strong", onclick: () => { $("trouble").hidden = true; act(); } }, label));
  $("trouble").replaceChildren(h("p", {}, message), ...buttons);
  $("trouble").hidden = false;
  $("trouble").scrollIntoView({ block: "nearest" });
  const label = buttons[0].textContent;
  const end = performance.now() + 1000 * wait;
  const tick = () => {
    const left = Math.ceil((end - performance.now()) / 1000);
    buttons[0].disabled = left > 0;
    buttons[0].textContent = left > 0 ? `${label} in ${left} s` : label;
    if (left > 0 && buttons[0].isConnected) setTimeout(tick, 250);
  };
  if (wait) tick();
}

function askForKey() {
  $("key-field").hidden = false;
  setOpen("settings", true);
  $("key").focus();
}

// For screen readers: that an answer has begun, and the whole of it at the end; never every token.
function tell(text) {
  $("status").textContent = text;
}

function press(label) {
  const button = [...(app.views.at(-1)?.foot.querySelectorAll("button") ?? [])].find((one) => one.textContent === label);
  button?.click();
}

start();
