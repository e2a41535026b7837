// Receiving one answer: its text and tokens into a turn, its pace, and painting it as it grows.

import { chat } from "./api.js";
import { $, count, number } from "./dom.js";

const SAVE_EVERY = 1000; // milliseconds between saves of an answer that grows

// Streams an answer into `turn`, with its figures however it ends. `view()` is what shows the turn, or null while another
// conversation is open; `save()` keeps what there is.
export async function receive(turn, body, { key, signal, view, save }) {
  const began = performance.now();
  const paint = painter(view);
  let first = 0;
  let n = 0;
  let saved = began;
  let finish = "";
  const figures = () => {
    const seconds = (performance.now() - first) / 1000;
    return first ? { n, rate: n > 1 && seconds > 0 ? (n - 1) / seconds : 0, first: (first - began) / 1000, finish } : { finish };
  };
  try {
    for await (const news of chat(body, key, signal)) {
      if (news.progress) paint.wait(`Reading the prompt: ${number(news.progress[0])} of ${count(news.progress[1], "token")}`);
      if (news.text || news.tokens?.length) {
        first ||= performance.now();
        n += news.tokens.length || 1;
        turn.content += news.text;
        if (news.tokens.length) (turn.tokens ??= []).push(...news.tokens);
        paint.soon();
      }
      finish = news.finish || finish;
      if (news.usage) n = news.usage.completion_tokens;
      if (performance.now() - saved > SAVE_EVERY) {
        saved = performance.now();
        save();
      }
      if (news.timings?.predicted_per_second) turn.rate = news.timings.predicted_per_second;
    }
  } finally {
    turn.figures = figures();
    if (turn.rate) turn.figures.rate = turn.rate; // the engine's own clock, where it tells
    delete turn.rate;
    paint.now();
  }
}

// Paints an answer at most once a frame, and less often the longer a painting takes; keeps the end in sight for whoever
// was there.
function painter(view) {
  let isDue = false;
  let cost = 0;
  const now = () => {
    isDue = false;
    const began = performance.now();
    const scroll = $("scroll");
    const isAtEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
    view()?.update();
    if (isAtEnd) scroll.scrollTop = scroll.scrollHeight;
    cost = performance.now() - began;
  };
  const soon = () => {
    if (isDue) return;
    isDue = true;
    view()?.wait("Writing");
    setTimeout(() => requestAnimationFrame(now), Math.min(cost * 5, 1000));
  };
  return { now, soon, wait: (text) => view()?.wait(text) };
}
