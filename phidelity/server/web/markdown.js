// Markdown to DOM nodes, for text that nobody vouches for. What is HTML in it stays text; links go to http, https and
// mailto alone; images become links. Work is linear in the text: every search is bounded or remembers that it failed,
// and nesting ends at DEPTH, beyond which marks are text.

import { copy, h } from "./dom.js";
import { DEPTH, inline } from "./inline.js";
import { math } from "./tex.js";

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
