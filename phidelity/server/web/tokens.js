// An answer token by token: under each its probability in percent, shaded in five steps as in the report's pivotal
// tokens, and for the one that is looked at its log-probability and what else was likely. Arrow keys walk along.

import { h, number } from "./dom.js";

const STEPS = [0.2, 0.5, 0.8, 0.95];

export function tokenView(tokens) {
  const detail = h("div", { class: "token-detail" });
  const line = h("div", { class: "token-line", role: "toolbar", "aria-label": "Tokens of the answer; arrow keys walk along" });
  const buttons = tokens.map((token, i) => {
    const p = Math.exp(token.logprob);
    const step = STEPS.filter((least) => p >= least).length;
    const label = `${spoken(token.token)}, ${percent(p)}`;
    const button = h("button", { type: "button", class: `token p${step}`, tabindex: i ? "-1" : "0", "aria-label": label, onclick: () => show(i) },
      h("span", {}, visible(token.token)), h("sub", {}, percent(p, true)));
    return button;
  });
  buttons.forEach((button, i) => {
    line.append(button);
    if (tokens[i].token.includes("\n")) line.append(h("br"));
  });

  function show(i) {
    buttons.forEach((button, k) => {
      button.tabIndex = k === i ? 0 : -1;
      button.setAttribute("aria-pressed", k === i ? "true" : "false");
    });
    detail.replaceChildren(detailOf(tokens[i]));
  }

  line.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined || !buttons[to]) return;
    event.preventDefault();
    buttons[to].focus();
    show(to);
  });
  if (tokens.length) show(0);
  return h("div", { class: "tokens" },
    h("p", { class: "note" }, "Under each token stands how probable it was, in percent. Choose one to see what else was likely."), line, detail);
}

function detailOf(token) {
  const others = token.top_logprobs?.length ? token.top_logprobs : [token];
  const rows = others.some((other) => other.token === token.token) ? others : [...others, token];
  const body = rows.map((other) => {
    const p = Math.exp(other.logprob);
    const bar = h("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${Math.max(p * 100, 0.5)}%`;
    const isChosen = other.token === token.token;
    return h("tr", { class: isChosen ? "chosen" : "" }, h("th", { scope: "row" }, h("code", {}, visible(other.token)), isChosen ? " chosen" : ""),
      h("td", { class: "num" }, percent(p)), h("td", { class: "num" }, number(other.logprob, 3).replace("-", "−")), h("td", { class: "bars" }, bar));
  });
  const head = h("tr", {}, ...["Token", "Probability", "Log-probability", ""].map((text, i) => h("th", { scope: "col", class: i === 1 || i === 2 ? "num" : "" }, text)));
  return h("table", {}, h("caption", {}, "At this place"), h("thead", {}, head), h("tbody", {}, ...body));
}

function percent(p, isShort = false) {
  if (isShort) return p >= 0.995 ? "100" : p < 0.01 ? "<1" : number(p * 100);
  return p < 0.0005 ? "<0.1 %" : `${number(p * 100, 1)} %`;
}

// A token with what the eye would miss made visible.
function visible(text) {
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replace(/^ +| +$/g, (run) => "␣".repeat(run.length)) || "∅";
}

function spoken(text) {
  if (!text.trim()) return text.includes("\n") ? "new line" : "space";
  return text;
}
