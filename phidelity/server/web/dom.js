// Making elements. Text only ever becomes text nodes and attributes only ever the ones named here by our own code:
// nothing on this page is parsed as HTML.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function $(id) {
  return document.getElementById(id);
}

const NUMBERS = new Intl.NumberFormat("en");

export function count(n, noun) {
  return `${NUMBERS.format(n)} ${noun}${n === 1 ? "" : "s"}`;
}

export function number(n, digits = 0) {
  return new Intl.NumberFormat("en", { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(n);
}

// Copies text; the button says that it did. Clipboards exist only in secure contexts, so there is a way without.
export async function copy(text, button) {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    const area = h("textarea", { class: "offscreen", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const label = button.dataset.label ?? button.textContent;
  button.dataset.label = label;
  button.textContent = done ? "Copied" : "Cannot copy";
  setTimeout(() => { button.textContent = label; }, 1600);
}
