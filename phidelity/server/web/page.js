// What surrounds the conversation: panels that open and close, keys, light and dark, files, and short notes.

import { $, h } from "./dom.js";
import { asRecords } from "./store.js";

const NARROW = matchMedia("(max-width: 60rem)");

// Opens or closes a panel; on a narrow screen one at a time, and the focus goes with it.
export function setOpen(name, isOpen) {
  const opener = $(`open-${name}`);
  if (name === "settings") $(name).hidden = !isOpen;
  else $("app").classList.toggle("side-open", isOpen);
  opener.setAttribute("aria-expanded", String(isOpen));
  if (isOpen && NARROW.matches) $(`close-${name}`).focus();
}

function isShown(name) {
  return $(`open-${name}`).getAttribute("aria-expanded") === "true";
}

// `acts` are what keys and buttons of the page set off: {fresh, regenerate, editLast, stop, copyLast, tokens, exportAll, importFile}.
export function bindPage(acts) {
  for (const name of ["side", "settings"]) {
    $(`open-${name}`).addEventListener("click", () => setOpen(name, !isShown(name)));
    $(`close-${name}`).addEventListener("click", () => { setOpen(name, false); $(`open-${name}`).focus(); });
  }
  $("keys").addEventListener("click", () => $("shortcuts").showModal());
  $("export-all").addEventListener("click", acts.exportAll);
  $("import").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    if ($("file").files[0]) acts.importFile($("file").files[0]);
    $("file").value = "";
  });
  bindKeys(acts);
  bindTheme();
}

function bindKeys(acts) {
  const alt = {
    KeyN: acts.fresh, KeyR: acts.regenerate, KeyC: acts.copyLast, KeyT: acts.tokens, KeyM: () => $("message").focus(),
    KeyS: () => setOpen("settings", !isShown("settings")), KeyK: () => $("shortcuts").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey && alt[event.code] && !$("shortcuts").open) {
      event.preventDefault();
      alt[event.code]();
    } else if (event.key === "Escape" && !$("shortcuts").open) {
      const open = ["settings", "side"].find(isShown);
      if (!$("stop").hidden) acts.stop();
      else if (open) {
        setOpen(open, false);
        $("message").focus();
      }
    }
  });
  $("message").addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      $("composer").requestSubmit();
    } else if (event.key === "ArrowUp" && !$("message").value) {
      event.preventDefault();
      acts.editLast();
    }
  });
}

function bindTheme() {
  const chosen = document.documentElement.dataset.theme ?? "";
  for (const radio of $("theme").querySelectorAll("input")) {
    radio.checked = radio.value === chosen;
    radio.addEventListener("change", () => {
      if (radio.value) document.documentElement.dataset.theme = radio.value;
      else delete document.documentElement.dataset.theme;
      try { localStorage.setItem("phidelity.theme", radio.value); } catch { /* then it lasts as long as the page */ }
    });
  }
}

// Saves conversations as JSON lines.
export function download(conversations, name) {
  const url = URL.createObjectURL(new Blob([asRecords(conversations)], { type: "application/jsonl" }));
  const plain = name.normalize("NFKD").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 50) || "conversation";
  const link = h("a", { href: url, download: `${plain}.jsonl` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

let timer = 0;

// A note at the foot of the page for some seconds, with one thing that can be done about it.
export function toast(text, label = "", act = null) {
  clearTimeout(timer);
  $("toast-text").textContent = text;
  $("toast-act").hidden = !label;
  $("toast-act").textContent = label;
  $("toast-act").onclick = () => { $("toast").hidden = true; act(); };
  $("toast").hidden = false;
  timer = setTimeout(() => { $("toast").hidden = true; }, label ? 12_000 : 7_000);
}
