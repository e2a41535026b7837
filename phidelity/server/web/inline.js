// What Markdown means within a line: emphasis, code, links, mathematics. One pass with a stack of open marks; a mark that
// is never closed is text. Addresses that could run anything become no links.

import { h } from "./dom.js";
import { math } from "./tex.js";

export const DEPTH = 12; // how deep marks, lists and quotations nest

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
