// The controls of how answers are drawn, bound to a conversation, and what they mean as fields of a request.

import { $ } from "./dom.js";

const NUMBERS = ["temperature", "top_p", "min_p", "seed", "max_tokens"];

// Shows a conversation's settings and calls `changed` when a person changes one.
export class Settings {
  constructor(changed) {
    this.conversation = null;
    $("system").addEventListener("input", () => { this.conversation.system = $("system").value; changed(); });
    $("logprobs").addEventListener("change", () => { this.conversation.settings.logprobs = $("logprobs").checked; changed(); });
    for (const name of NUMBERS) {
      $(name).addEventListener("input", () => {
        const field = $(name);
        $(`${name}-error`).textContent = field.validity.valid ? "" : field.validationMessage;
        field.setAttribute("aria-invalid", String(!field.validity.valid));
        if (!field.validity.valid) return;
        this.conversation.settings[name] = field.value === "" ? null : Number(field.value);
        changed();
      });
    }
  }

  // The first field whose value cannot be, if any.
  wrong() {
    return NUMBERS.map((name) => $(name)).find((field) => !field.validity.valid);
  }

  show(conversation, limit) {
    this.conversation = conversation;
    $("system").value = conversation.system;
    $("logprobs").checked = Boolean(conversation.settings.logprobs);
    if (limit) $("max_tokens").max = limit;
    for (const name of NUMBERS) {
      $(name).value = conversation.settings[name] ?? "";
      $(`${name}-error`).textContent = "";
      $(name).removeAttribute("aria-invalid");
    }
  }
}

// What a conversation asks of the server.
export function requestOf(conversation, model) {
  const head = conversation.system.trim() ? [{ role: "system", content: conversation.system }] : [];
  const messages = [...head, ...conversation.turns.map(({ role, content }) => ({ role, content }))];
  const body = { model, messages };
  for (const name of NUMBERS) {
    const value = conversation.settings[name];
    if (value !== null && value !== undefined) body[name] = value;
  }
  if (conversation.settings.logprobs) Object.assign(body, { logprobs: true, top_logprobs: 5 });
  return body;
}
