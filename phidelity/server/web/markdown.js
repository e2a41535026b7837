// Markdown to DOM nodes, for text that nobody vouches for. What is HTML in it stays text; links go to http, https and
// mailto alone; images become links. Work is linear in the text: every search is bounded or remembers that it failed,
// and nesting ends at DEPTH, beyond which marks are text.

import { copy, h } from "./dom.js";
import { math } from "./tex.js";

const DEPTH = 12;
const LONGEST = 200_000; // characters that are laid out; the rest is shown plain

// Renders a text that grows. Blocks that can no longer change stay as they are; only the last one is made anew.
export class Markdown {
  constructor(root) {
    this.root = root;
    this.text = "";
    this.settled = 0; // where the last block begins
    this.last = [];
  }

  update(text) {
    if (!text.startsWith(this.text)) {
      this.root.replaceChildren();
      this.settled = 0;
      this.last = [];
    }
    this.text = text;
    const whole = text.slice(0, LONGEST);
    const parsed = blocks(whole.slice(this.settled), 0);
    this.last.forEach((node) => node.remove());
    this.last = [];
    parsed.forEach((block, i) => {
      this.root.append(block.node);
      if (i === parsed.length - 1) {
        this.last = [block.node];
        this.settled += block.start;
      }
    });
    if (text.length > LONGEST) {
      this.last.push(h("pre", { class: "plain" }, text.slice(LONGEST)));
      this.root.append(this.last.at(-1));
    }
  }
}

export function markdown(text) {
  const root = h("div", { class: "prose" });
  new Markdown(root).update(text);
  return root;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})([^`\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*)$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])([ \t]+|$)/;
const DIVIDER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

// The blocks of a text: each with its node and the character at which it begins.
function blocks(text, depth) {
  const lines = text.split("\n");
  const found = [];
  let at = 0; // character of line i
  for (let i = 0; i < lines.length;) {
    const take = (n, node) => {
      found.push({ start: at, node });
      for (let k = 0; k < n; k++) at += lines[i++].length + 1;
    };
    if (!lines[i].trim()) at += lines[i++].length + 1;
    else take(...block(lines, i, depth));
  }
  return found;
}

// How many lines the block at line i has, and its node.
function block(lines, i, depth) {
  const line = lines[i];
  const fence = FENCE.exec(line);
  if (fence) return fenced(lines, i, fence);
  const display = displayed(lines, i);
  if (display) return display;
  const heading = HEADING.exec(line);
  if (heading) return [1, h(`h${Math.min(heading[1].length + 2, 6)}`, {}, ...inline(unhashed(heading[2])))];
  if (RULE.test(line)) return [1, h("hr")];
  if (depth < DEPTH && QUOTE.test(line)) return quoted(lines, i, depth);
  if (depth < DEPTH && ITEM.test(line)) return listed(lines, i, depth);
  if (line.includes("|") && i + 1 < lines.length && lines[i + 1].includes("-") && DIVIDER.test(lines[i + 1])) {
    const table = tabled(lines, i);
    if (table) return table;
  }
  let n = 1;
  while (i + n < lines.length && lines[i + n].trim() && !begins(lines[i + n])) n++;
  return [n, h("p", {}, ...inline(lines.slice(i, i + n).map((one) => one.replace(/^[ \t]+/, "")).join("\n")))];
}

// A heading's text without the hashes that may close it.
function unhashed(text) {
  let end = text.trimEnd().length;
  while (end && text[end - 1] === "#") end--;
  return !end || /[ \t]/.test(text[end - 1]) ? text.slice(0, end).trimEnd() : text.trimEnd();
}

// Whether a line ends the paragraph before it. A number other than 1 does not begin a list amid a sentence.
function begins(line) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  if (/^\s*(\$\$|\\\[)/.test(line)) return true;
  const item = ITEM.exec(line);
  return Boolean(item) && item[3] !== "" && (!/\d/.test(item[2]) || item[2].slice(0, -1) === "1");
}

function fenced(lines, i, [, mark, info]) {
  let n = 1;
  const closes = (line) => {
    const end = line.trim();
    return end.length >= mark.length && line.length - line.trimStart().length < 4 && end === mark[0].repeat(end.length);
  };
  while (i + n < lines.length && !closes(lines[i + n])) n++;
  const source = lines.slice(i + 1, i + n).join("\n");
  return [Math.min(n + 1, lines.length - i), code(source, info.trim().split(/\s/)[0].slice(0, 30))];
}

function code(source, language) {
  const button = h("button", { type: "button", class: "small", onclick: () => copy(source, button) }, "Copy");
  const pre = h("pre", { tabindex: "0" }, h("code", {}, source));
  return h("div", { class: "code" }, h("div", { class: "code-head" }, h("span", {}, language || "code"), button), pre);
}

// $$ ... $$ and \[ ... \] that stand at the beginning of a line; one that does not end yet is shown as it is.
function displayed(lines, i) {
  const text = lines[i].trimStart();
  const close = text.startsWith("$$") ? "$$" : text.startsWith("\\[") ? "\\]" : null;
  if (!close) return null;
  let source = text.slice(2);
  let from = 0;
  for (let n = 1; n <= 200; n++) {
    const end = source.indexOf(close, from);
    if (end >= 0) {
      const rest = source.slice(end + 2).trim();
      const node = h("div", { class: "display" }, math(source.slice(0, end).trim(), true));
      return [n, rest ? h("div", {}, node, h("p", {}, ...inline(rest))) : node];
    }
    if (i + n >= lines.length) return [n, h("pre", { class: "tex" }, lines.slice(i).join("\n"))];
    if (!lines[i + n].trim()) return null;
    from = source.length;
    source += `\n${lines[i + n]}`;
  }
  return null;
}

function quoted(lines, i, depth) {
  let n = 0;
  const inner = [];
  while (i + n < lines.length && QUOTE.test(lines[i + n])) inner.push(lines[i + n++].replace(QUOTE, ""));
  const quote = h("blockquote");
  quote.append(...blocks(inner.join("\n"), depth + 1).map((one) => one.node));
  return [n, quote];
}

function listed(lines, i, depth) {
  const first = ITEM.exec(lines[i]);
  const isOrdered = /\d/.test(first[2]);
  const list = h(isOrdered ? "ol" : "ul", isOrdered && first[2] !== "1." ? { start: parseInt(first[2], 10) } : {});
  let n = 0;
  while (i + n < lines.length) {
    const item = ITEM.exec(lines[i + n]);
    if (!item || /\d/.test(item[2]) !== isOrdered || RULE.test(lines[i + n])) break;
    const indent = item[1].length + item[2].length + Math.min(Math.max(item[3].length, 1), 4);
    const inner = [lines[i + n].slice(item[0].length)];
    n++;
    while (i + n < lines.length && belongs(lines, i + n, indent)) inner.push(unindented(lines[i + n++], indent));
    list.append(h("li", {}, ...tight(blocks(inner.join("\n"), depth + 1))));
    while (i + n + 1 < lines.length && !lines[i + n].trim() && ITEM.test(lines[i + n + 1])) n++;
  }
  return [n, list];
}

// Whether a line goes on with the list item above it: indented, an empty line before such a one, or a lazy rest.
function belongs(lines, i, indent) {
  const line = lines[i];
  if (!line.trim()) return i + 1 < lines.length && /^[ \t]{2,}\S/.test(lines[i + 1]) && indentOf(lines[i + 1]) >= 2;
  if (indentOf(line) >= Math.min(indent, 2)) return true;
  return !begins(line) && !ITEM.test(line) && Boolean(lines[i - 1].trim());
}

function indentOf(line) {
  return line.length - line.trimStart().length;
}

function unindented(line, indent) {
  return line.slice(Math.min(indent, indentOf(line)));
}

// An item of one paragraph is its text alone.
function tight(found) {
  const nodes = found.map((one) => one.node);
  if (nodes[0]?.tagName === "P" && nodes.slice(1).every((node) => node.tagName !== "P")) {
    nodes.splice(0, 1, ...nodes[0].childNodes);
  }
  return nodes;
}

function tabled(lines, i) {
  const head = cells(lines[i]);
  const sides = cells(lines[i + 1]).map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "centre" : "right") : ""));
  if (head.length !== sides.length) return null;
  const row = (tag, texts) => h("tr", {}, ...sides.map((side, k) => h(tag, { class: side }, ...inline(texts[k] ?? ""))));
  const body = h("tbody");
  let n = 2;
  while (i + n < lines.length && lines[i + n].trim() && lines[i + n].includes("|")) body.append(row("td", cells(lines[i + n++])));
  const table = h("table", {}, h("thead", {}, row("th", head)), body);
  return [n, h("div", { class: "scroll", tabindex: "0" }, table)];
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return inner.split(/(?<!\\)\|/).slice(0, 100).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

// ---- within a line -------------------------------------------------------------------------------------------------

const MARKS = { "**": "strong", "__": "strong", "*": "em", "_": "em", "~~": "del" };
const WORD = /[\p{L}\p{N}]/u;
const ADDRESS = /https?:\/\/[^\s<>"`\\^{|}]{1,2000}/y;

export function inline(text) {
  return new Line(text).nodes();
}

// One pass with a stack of open marks. A mark that is never closed is put back as text.
class Line {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.plain = "";
    this.stack = [{ mark: "", nodes: [] }];
    this.hopeless = new Set(); // closers that were sought to the end and not found
  }

  nodes() {
    while (this.at < this.text.length) this.step();
    while (this.stack.length > 1) this.reopen();
    this.flush();
    return this.stack[0].nodes;
  }

  step() {
    const { text, at } = this;
    switch (text[at]) {
      case "\\": return this.escaped();
      case "`": return this.codeSpan();
      case "$": return this.formula("$", "$");
      case "*": case "_": case "~": return this.mark();
      case "[": return this.open("[", 1);
      case "]": return this.link();
      case "!": return text[at + 1] === "[" ? this.open("![", 2) : this.put(1);
      case "h": return this.address();
      case "\n": return this.newline();
      default: return this.run();
    }
  }

  // Characters that mean nothing, many at once.
  run() {
    let end = this.at + 1;
    while (end < this.text.length && !"\\`$*_~[]!h\n".includes(this.text[end])) end++;
    this.put(end - this.at);
  }

  put(n) {
    this.plain += this.text.slice(this.at, this.at + n);
    this.at += n;
  }

  flush() {
    if (this.plain) this.stack.at(-1).nodes.push(document.createTextNode(this.plain));
    this.plain = "";
  }

  add(node, n) {
    this.flush();
    this.stack.at(-1).nodes.push(node);
    this.at += n;
  }

  open(mark, n) {
    if (this.stack.length > DEPTH) return this.put(n);
    this.flush();
    this.stack.push({ mark, nodes: [], after: this.at + n });
    this.at += n;
    return undefined;
  }

  // The innermost open mark becomes text again.
  reopen() {
    this.flush();
    const { mark, nodes } = this.stack.pop();
    this.stack.at(-1).nodes.push(document.createTextNode(mark), ...nodes);
  }

  // Closes the innermost open `mark`; what stands open inside it becomes text.
  close(mark) {
    while (this.stack.at(-1).mark !== mark) this.reopen();
    this.flush();
    return this.stack.pop().nodes;
  }

  isOpen(mark) {
    return this.stack.some((one, i) => i > 0 && one.mark === mark);
  }

  escaped() {
    const next = this.text[this.at + 1] ?? "";
    if (next === "(") return this.formula("\\(", "\\)");
    if (next === "[") return this.formula("\\[", "\\]");
    if (next === "\n") return this.add(h("br"), 2);
    if (/[!-/:-@[-`{-~]/.test(next)) {
      this.plain += next;
      this.at += 2;
      return undefined;
    }
    return this.put(1);
  }

  newline() {
    const isHard = this.plain.endsWith("  ");
    if (isHard) this.plain = this.plain.trimEnd();
    return isHard ? this.add(h("br"), 1) : this.put(1);
  }

  codeSpan() {
    const run = /`+/y;
    run.lastIndex = this.at;
    const mark = run.exec(this.text)[0];
    if (!this.hopeless.has(mark)) {
      const end = this.sameRun(mark, this.at + mark.length);
      if (end >= 0) {
        let inner = this.text.slice(this.at + mark.length, end).replaceAll("\n", " ");
        if (inner.startsWith(" ") && inner.endsWith(" ") && inner.trim()) inner = inner.slice(1, -1);
        return this.add(h("code", {}, inner), end + mark.length - this.at);
      }
      this.hopeless.add(mark);
    }
    return this.put(mark.length);
  }

  // Where a run of exactly this many backticks begins.
  sameRun(mark, from) {
    const runs = /`+/g;
    runs.lastIndex = from;
    for (let found = runs.exec(this.text); found; found = runs.exec(this.text)) {
      if (found[0].length === mark.length) return found.index;
    }
    return -1;
  }

  // $x$ as Pandoc reads it: no space inside the dollars, no digit after them. So prices stay prices.
  formula(open, close) {
    const { text, at } = this;
    const isDouble = open === "$" && text[at + 1] === "$";
    const mark = isDouble ? "$$" : close;
    const from = at + (isDouble ? 2 : open.length);
    if (this.hopeless.has(mark) || (mark === "$" && /\s|^$/.test(text[from] ?? ""))) return this.put(from - at);
    let end = text.indexOf(mark, from);
    while (mark === "$" && end > 0 && text[end - 1] === "\\") end = text.indexOf(mark, end + 1);
    if (end < 0) this.hopeless.add(mark);
    if (mark === "$" && (/\s/.test(text[end - 1] ?? "") || /\d/.test(text[end + 1] ?? ""))) return this.put(from - at);
    if (end <= from || end - from > 5000) return this.put(from - at);
    return this.add(math(text.slice(from, end), false), end + mark.length - at);
  }

  mark() {
    const { text, at } = this;
    const char = text[at];
    const isInner = this.stack.at(-1).mark === char && text[at + 2] === char; // *** closes the inner one first
    const mark = text[at + 1] === char && !isInner ? char + char : char;
    if (mark === "~") return this.put(1);
    const before = text[at - 1] ?? " ";
    const after = text[at + mark.length] ?? " ";
    const isWord = char === "_";
    if (this.isOpen(mark) && !/\s/.test(before) && !(isWord && WORD.test(after))) {
      return this.add(h(MARKS[mark], {}, ...this.close(mark)), mark.length);
    }
    if (/\s/.test(after) || (isWord && WORD.test(before)) || this.isOpen(mark)) return this.put(mark.length);
    return this.open(mark, mark.length);
  }

  // ] with (address) after it: a link if the address is one that cannot run anything, else the text as it stands.
  link() {
    const mark = this.stack.findLast((one) => one.mark === "[" || one.mark === "![")?.mark;
    const target = /\(\s{0,9}<?([^\s<>()]{0,2000}(?:\([^\s<>()]{0,200}\)[^\s<>()]{0,200})?)>?(?:\s{1,9}"[^"\n]{0,200}")?\s{0,9}\)/y;
    target.lastIndex = this.at + 1;
    const found = mark && this.text[this.at + 1] === "(" ? target.exec(this.text) : null;
    if (!found) {
      if (mark) {
        while (this.stack.at(-1).mark !== mark) this.reopen();
        this.reopen();
      }
      return this.put(1);
    }
    const nodes = this.close(mark);
    const url = safe(found[1]);
    const label = nodes.length ? nodes : [found[1]];
    if (url) return this.add(anchor(url, label), 1 + found[0].length);
    return this.add(h("span", { class: "unlinked" }, ...label, ` (${found[1]})`), 1 + found[0].length);
  }

  address() {
    ADDRESS.lastIndex = this.at;
    const isWord = WORD.test(this.text[this.at - 1] ?? " ");
    const found = isWord || this.isOpen("[") ? null : ADDRESS.exec(this.text);
    if (!found) return this.put(1);
    let url = found[0].replace(/[.,;:!?'*_~\]]+$/, "");
    if (url.endsWith(")") && !url.includes("(")) url = url.replace(/\)+$/, "");
    return safe(url) ? this.add(anchor(url, [url]), url.length) : this.put(1);
  }
}

function anchor(url, label) {
  return h("a", { href: url, rel: "noopener noreferrer nofollow", target: "_blank" }, ...label);
}

// The address if it opens a page or a letter; null for javascript:, data:, and whatever else there may be.
export function safe(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}
