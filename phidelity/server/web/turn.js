// How one turn looks: who speaks, what is said, what can be done with it, and in what time it came.

import { copy, count, h, number } from "./dom.js";
import { Markdown } from "./markdown.js";
import { tokenView } from "./tokens.js";

const ENDS = { length: "cut off at the most tokens allowed", stopped: "stopped", broken: "broke off" };

// The view of a turn. `acts` names what its buttons do: {edit(text), regenerate()}; those left out have no button.
export class TurnView {
  constructor(turn, name, acts) {
    this.turn = turn;
    this.acts = acts;
    this.isUser = turn.role === "user";
    this.body = h("div", { class: "prose" });
    this.foot = h("div", { class: "foot" });
    const who = this.isUser ? "You" : name;
    this.element = h("article", { class: `turn ${turn.role}` }, h("h2", { class: "who" }, who), this.body, this.foot);
    this.markdown = this.isUser ? null : new Markdown(this.body);
    this.update();
    this.end();
  }

  // Shows what the turn holds now; cheap enough for every frame.
  update() {
    if (this.isUser) this.body.replaceChildren(h("div", { class: "said" }, this.turn.content));
    else this.markdown.update(this.turn.content);
  }

  // The answer is under way: no buttons, and until it begins a word on what is waited for.
  wait(text) {
    this.element.setAttribute("aria-busy", "true");
    this.foot.replaceChildren(h("span", { class: "figures" }, text));
  }

  // The turn is whole.
  end() {
    this.element.removeAttribute("aria-busy");
    const { turn, acts } = this;
    const button = (label, act) => h("button", { type: "button", class: "small", onclick: act }, label);
    const copier = button("Copy", () => copy(turn.content, copier));
    const buttons = [turn.content ? copier : null];
    if (acts.edit) buttons.push(button("Edit", () => this.edit()));
    if (acts.regenerate) buttons.push(button("Regenerate", acts.regenerate));
    if (turn.tokens?.length) {
      const toggle = button("Tokens", () => this.toggleTokens(toggle));
      toggle.setAttribute("aria-expanded", "false");
      buttons.push(toggle);
    }
    const figures = figuresOf(turn);
    this.foot.replaceChildren(...buttons.filter(Boolean), figures ? h("span", { class: "figures" }, figures) : "");
  }

  toggleTokens(toggle) {
    const isOpen = toggle.getAttribute("aria-expanded") === "true";
    toggle.setAttribute("aria-expanded", String(!isOpen));
    this.tokens?.remove();
    this.tokens = isOpen ? null : tokenView(this.turn.tokens);
    if (this.tokens) this.foot.before(this.tokens);
  }

  // The question as a field; sending it replaces what came after.
  edit() {
    const area = h("textarea", { class: "edit", "aria-label": "Edit your message", rows: String(Math.min(12, this.turn.content.split("\n").length + 1)) });
    area.value = this.turn.content;
    const leave = () => {
      this.update();
      this.end();
      this.foot.querySelector("button")?.focus();
    };
    const send = () => { if (area.value.trim()) this.acts.edit(area.value); };
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        leave();
      }
    });
    const note = h("span", { class: "figures" }, "What came after it is replaced.");
    this.body.replaceChildren(area);
    this.foot.replaceChildren(h("button", { type: "button", class: "small strong", onclick: send }, "Send"),
      h("button", { type: "button", class: "small", onclick: leave }, "Cancel"), note);
    area.focus();
  }
}

// `34 tokens · 210 tokens/s · first after 0.05 s`, as far as it is known.
function figuresOf(turn) {
  const { n, rate, first, finish } = turn.figures ?? {};
  const parts = [];
  if (n) parts.push(count(n, "token"));
  if (rate) parts.push(`${number(rate, rate < 10 ? 1 : 0)} tokens/s`);
  if (first !== undefined) parts.push(`first after ${number(first, 2)} s`);
  if (ENDS[finish]) parts.push(ENDS[finish]);
  return parts.join(" · ");
}
