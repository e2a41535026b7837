// A part of TeX's mathematics to MathML, node by node. A command that is not known is shown as it was written, in the
// formula; a formula that does not add up (braces, environments), is too long or too deep is shown whole as its source.

import { accents, alphabets, fences, functions, large, letters, limits, operators, spaces, styled } from "./symbols.js";
import { h } from "./dom.js";

const MATHML = "http://www.w3.org/1998/Math/MathML";
const LONGEST = 5000;
const DEPTH = 40;
const TOKEN = /\\(?:[A-Za-z]+\*?|[\s\S])|\s+|\d+(?:[.,]\d+)*|[\s\S]/gu;
const TEXT = new Set(["text", "textrm", "textit", "textbf", "texttt", "mbox", "operatorname", "operatorname*"]);
const SILENT = new Set([
  "displaystyle", "textstyle", "scriptstyle", "limits", "nolimits", "nonumber", "notag", "big", "Big", "bigg", "Bigg", "bigl", "bigr",
  "Bigl", "Bigr", "biggl", "biggr", "Biggl", "Biggr", "middle", "hline",
]);
const MATRICES = {
  matrix: ["", ""], pmatrix: ["(", ")"], bmatrix: ["[", "]"], Bmatrix: ["{", "}"], vmatrix: ["|", "|"], Vmatrix: ["‖", "‖"],
  smallmatrix: ["", ""], cases: ["{", ""], array: ["", ""], aligned: ["", ""], align: ["", ""], "align*": ["", ""],
  gathered: ["", ""], gather: ["", ""], "gather*": ["", ""], split: ["", ""], equation: ["", ""], "equation*": ["", ""],
};
const ALIGNED = new Set(["aligned", "align", "align*", "split"]);

class Broken extends Error {}

function m(tag, attributes, ...children) {
  const node = document.createElementNS(MATHML, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A formula as a node: mathematics if it can be read, else its source.
export function math(source, isDisplay) {
  try {
    if (source.length > LONGEST) throw new Broken();
    const reader = new Reader(source);
    const nodes = reader.until(null);
    return m("math", { display: isDisplay ? "block" : "inline", alttext: source }, m("mrow", {}, ...nodes));
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    return h("code", { class: "tex" }, source);
  }
}

class Reader {
  constructor(source) {
    this.tokens = source.match(TOKEN) ?? [];
    this.at = 0;
    this.depth = 0;
  }

  peek() {
    while (/^\s/.test(this.tokens[this.at] ?? "")) this.at++;
    return this.tokens[this.at];
  }

  next() {
    const token = this.peek();
    this.at++;
    return token;
  }

  // Everything up to one of the closers, which is left; null: to the end of the formula.
  until(closers) {
    if (++this.depth > DEPTH) throw new Broken();
    const nodes = [];
    for (let token = this.peek(); !closers?.includes(token); token = this.peek()) {
      if (token === undefined) {
        if (closers) throw new Broken();
        break;
      }
      if (["}", "\\right", "\\end", "&"].includes(token)) throw new Broken();
      if (token === "\\\\" && !closers) {
        this.at++;
        nodes.push(m("mspace", { linebreak: "newline" }));
        continue;
      }
      nodes.push(this.withScripts());
    }
    this.depth--;
    return nodes;
  }

  // An atom and what is above and below it.
  withScripts() {
    const token = this.peek();
    const base = token === "^" || token === "_" ? m("mrow", {}) : this.atom();
    let below = null;
    let above = null;
    let primes = "";
    for (;;) {
      const mark = this.peek();
      if (mark === "'") primes += (this.next(), "′");
      else if (mark === "_" && !below) below = (this.next(), this.argument());
      else if (mark === "^" && !above) above = (this.next(), this.argument());
      else if (mark === "_" || mark === "^") throw new Broken();
      else if (mark === "\\limits" || mark === "\\nolimits") this.next();
      else break;
    }
    if (primes) above = above ? m("mrow", {}, m("mo", {}, primes), above) : m("mo", {}, primes);
    if (!below && !above) return base;
    const isOver = base.dataset.limits === "1";
    if (below && above) return m(isOver ? "munderover" : "msubsup", {}, base, below, above);
    return below ? m(isOver ? "munder" : "msub", {}, base, below) : m(isOver ? "mover" : "msup", {}, base, above);
  }

  argument() {
    const token = this.peek();
    if (token === undefined || token === "}" || token === "^" || token === "_") throw new Broken();
    if (/^\d{2,}/.test(token)) { // x^12 is x to the 1, then 2
      this.tokens.splice(this.at, 1, token[0], token.slice(1));
    }
    return this.atom();
  }

  atom() {
    const token = this.next();
    if (token === "{") return this.closed("}");
    if (token[0] === "\\" && token.length > 1) return this.command(token.slice(1));
    if (/^\d/.test(token)) return m("mn", {}, token);
    if (/^\p{L}/u.test(token)) return m("mi", {}, token);
    if (token === "~") return m("mspace", { width: spaces.get("~") });
    if (token === "-") return m("mo", {}, "−");
    if ("()[]|/".includes(token)) return m("mo", { stretchy: "false" }, token);
    return m("mo", {}, token);
  }

  closed(closer) {
    const nodes = this.until([closer]);
    this.at++;
    return nodes.length === 1 ? nodes[0] : m("mrow", {}, ...nodes);
  }

  command(name) {
    if (letters.has(name)) return m("mi", /^[A-Z]/.test(name) ? { mathvariant: "normal" } : {}, letters.get(name));
    if (fences.has(name)) return m("mo", { stretchy: "false" }, fences.get(name));
    if (operators.has(name)) return m("mo", {}, operators.get(name));
    if (large.has(name)) return this.large(name);
    if (functions.has(name)) return withLimits(m("mi", {}, name), limits.has(name));
    if (spaces.has(name) || /^\s$/.test(name)) return m("mspace", { width: spaces.get(name.trim() || " ") });
    if (accents.has(name)) return m("mover", { accent: "true" }, this.argument(), m("mo", { stretchy: name.length > 5 ? "true" : "false" }, accents.get(name)));
    if (alphabets.has(name)) return restyled(this.argument(), name);
    if (TEXT.has(name)) return this.words(name);
    if (SILENT.has(name)) return m("mrow", {});
    if ("{}|%$#&_".includes(name)) return m("mo", { stretchy: "false" }, name === "|" ? "‖" : name);
    return this.structure(name);
  }

  structure(name) {
    switch (name) {
      case "frac": case "dfrac": case "tfrac": case "cfrac": return m("mfrac", {}, this.argument(), this.argument());
      case "binom": case "dbinom": case "tbinom": {
        const pair = m("mfrac", { linethickness: "0" }, this.argument(), this.argument());
        return m("mrow", {}, m("mo", {}, "("), pair, m("mo", {}, ")"));
      }
      case "sqrt": return this.root();
      case "left": return this.fenced();
      case "begin": return this.environment();
      case "underline": return m("munder", {}, this.argument(), m("mo", {}, "_"));
      case "overbrace": return withLimits(m("mover", {}, this.argument(), m("mo", {}, "⏞")), true);
      case "underbrace": return withLimits(m("munder", {}, this.argument(), m("mo", {}, "⏟")), true);
      case "boxed": case "fbox": return m("mrow", { class: "boxed" }, this.argument());
      case "overset": case "stackrel": { const above = this.argument(); return m("mover", {}, this.argument(), above); }
      case "underset": { const below = this.argument(); return m("munder", {}, this.argument(), below); }
      case "not": return m("mrow", {}, m("mo", {}, `${this.argument().textContent}\u0338`));
      case "pmod": return m("mrow", {}, m("mspace", { width: "0.5em" }), m("mo", { stretchy: "false" }, "("), m("mi", {}, "mod"), m("mspace", { width: "0.3em" }), this.argument(), m("mo", { stretchy: "false" }, ")"));
      case "bmod": return m("mo", {}, "mod");
      case "tag": case "tag*": return m("mrow", {}, m("mspace", { width: "2em" }), m("mtext", {}, `(${this.argument().textContent})`));
      case "color": case "label": this.raw(); return m("mrow", {});
      default: return m("mtext", { class: "source" }, `\\${name}`);
    }
  }

  large(name) {
    const isIntegral = name.endsWith("int");
    return withLimits(m("mo", isIntegral ? {} : { movablelimits: "true" }, large.get(name)), !isIntegral);
  }

  root() {
    if (this.peek() !== "[") return m("msqrt", {}, this.argument());
    this.at++;
    const index = this.closed("]");
    return m("mroot", {}, this.argument(), index);
  }

  fenced() {
    const open = this.delimiter();
    const inner = this.until(["\\right"]);
    this.at++;
    return m("mrow", {}, fence(open), ...inner, fence(this.delimiter()));
  }

  delimiter() {
    const token = this.next();
    if (token === undefined) throw new Broken();
    if (token === ".") return "";
    const name = token[0] === "\\" ? token.slice(1) : "";
    if (!name) return token;
    const found = fences.get(name) ?? operators.get(name) ?? ("{}".includes(name) ? name : name === "|" ? "‖" : null);
    if (found === null) throw new Broken();
    return found;
  }

  environment() {
    const name = this.raw();
    if (!Object.hasOwn(MATRICES, name)) throw new Broken();
    if (name === "array" && this.peek() === "{") this.raw();
    const rows = [[]];
    for (;;) {
      rows.at(-1).push(m("mtd", {}, m("mrow", {}, ...this.until(["&", "\\\\", "\\end"]))));
      const closer = this.next();
      if (closer === "\\end") break;
      if (closer === "\\\\") rows.push([]);
    }
    if (this.raw() !== name) throw new Broken();
    if (rows.length > 1 && rows.at(-1).length === 1 && !rows.at(-1)[0].textContent) rows.pop();
    const kind = ALIGNED.has(name) ? "aligned" : name === "cases" ? "cases" : "matrix";
    const table = m("mtable", { class: kind }, ...rows.map((row) => m("mtr", {}, ...row)));
    const [open, close] = MATRICES[name];
    return open || close ? m("mrow", {}, fence(open), table, fence(close)) : table;
  }

  // The text of a group, as written.
  raw() {
    if (this.next() !== "{") throw new Broken();
    let text = "";
    for (let depth = 1; ;) {
      const token = this.tokens[this.at++];
      if (token === undefined) throw new Broken();
      if (token === "{") depth++;
      if (token === "}" && --depth === 0) return text;
      text += token;
    }
  }

  words(name) {
    const text = this.raw().replace(/\\([%$#&_{}])/g, "$1").replace(/[{}$]/g, "");
    if (name.startsWith("operatorname")) return withLimits(m("mi", { mathvariant: "normal" }, text), name.endsWith("*"));
    const node = m("mtext", {}, text.replace(/^\s+|\s+$/g, "\u00a0"));
    if (name !== "text" && name !== "textrm" && name !== "mbox") node.setAttribute("class", name);
    return node;
  }
}

function fence(text) {
  return m("mo", { fence: "true", stretchy: "true" }, text);
}

function withLimits(node, isOver) {
  if (isOver) node.dataset.limits = "1";
  return node;
}

// The letters of a node in another alphabet.
function restyled(node, alphabet) {
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) found.push(walker.currentNode);
  for (const text of found) {
    text.data = [...text.data].map((char) => styled(alphabet, char)).join("");
    if (text.parentNode.localName === "mi") text.parentNode.setAttribute("mathvariant", "normal");
  }
  if (alphabet !== "mathrm" || !node.children.length) return node;
  const letters = [...node.children].every((child) => child.localName === "mi");
  return letters ? m("mi", { mathvariant: "normal" }, node.textContent) : node; // \mathrm{kg} is one word
}
