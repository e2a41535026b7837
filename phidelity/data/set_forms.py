"""Rows of the sets people train on, read as chats and as preferences: one small function for each form.

The form of a row is told by its keys; `FORMS` is the list, and the first that fits counts. Columns that hold null
(as Parquet writes what is absent) count as absent. What phi-4's chat cannot say (tools, pictures, roles it does
not know, turns out of order, a template around the text already) is a `BadRowError` with a reason in two words, never a
guess. Facts about the forms:
OpenAI's fine-tuning guide (`weight` 0 or 1 a message), FastChat's ShareGPT, Stanford Alpaca, openbmb/UltraFeedback
and its binarized form, Anthropic/hh-rlhf, PKU-Alignment/BeaverTails.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from pydantic import Field

from phidelity.records import Message, Record, whole_characters

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
"""What sets call the three roles."""
_TOOL_ROLES = ("tool", "function", "function_call", "tool_call", "observation", "function_response", "tool_response")
_HH_TURN = re.compile(r"\n\n(Human|Assistant):")


MARKS = (
    "<|im_start|>", "<|im_sep|>", "<|im_end|>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|eot_id|>",
    "<|start_header_id|>", "[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>", "### Instruction:", "### Response:",
)  # fmt: skip
"""What shows that a chat template was applied already: phi-4's own, and those of others (*ours*)."""


class BadRowError(Exception):
    """A row that cannot be used; its text is the reason that is counted, `found` what stands there."""

    def __init__(self, reason: str, found: str = "") -> None:
        super().__init__(reason)
        self.found = found


class Chat(NamedTuple):
    """Turns, and a weight for each where the row gives any."""

    messages: tuple[Message, ...]
    weights: tuple[int, ...] = ()


class Preference(Record):
    """Two answers to one prompt as text; what a tokenizer makes of it is a `PreferencePair` of kind full."""

    id: str = ""
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str = ""
    meta: dict[str, Any] = Field(default_factory=dict)


class Form(NamedTuple):
    """How rows of one form are known and read."""

    keys: tuple[str, ...]
    """Columns that every row of it has."""
    chat: Callable[[Mapping[str, Any]], Chat]
    preference: Callable[[Mapping[str, Any]], Preference] | None = None


def form_of(row: Any) -> tuple[str, dict[str, Any]]:
    """The name of a row's form, and the row without its empty columns."""
    if not isinstance(row, Mapping):
        raise BadRowError("bad record")
    present = {key: value for key, value in row.items() if value is not None}
    for name, form in FORMS.items():
        if present.keys() >= set(form.keys):
            return name, present
    raise BadRowError("unknown form", f"its keys are {', '.join(map(str, row))[:80] or 'none'}")


def _openai(row: Mapping[str, Any]) -> Chat:
    """{"messages": [{"role", "content", "weight"?}, ...]}; our own conversations too, whose weights stand beside."""
    chat = _chat(row["messages"], "role", "content")
    weights = tuple(row.get("weights") or chat.weights)
    if weights and (len(weights) != len(chat.messages) or any(weight not in (0, 1) for weight in weights)):
        raise BadRowError("bad weight")
    return Chat(chat.messages, weights)


def _sharegpt(row: Mapping[str, Any]) -> Chat:
    """{"conversations": [{"from": "human" | "gpt" | "system", "value"}, ...]}, the system text possibly beside."""
    turns = row["conversations"]
    if row.get("system") and isinstance(turns, list):
        turns = [{"from": "system", "value": row["system"]}, *turns]
    has_values = isinstance(turns, list) and turns and isinstance(turns[0], Mapping) and "from" in turns[0]
    return _chat(turns, *(("from", "value") if has_values else ("role", "content")))


def _alpaca(row: Mapping[str, Any]) -> Chat:
    """{"instruction", "input", "output"}, and the `system` and `history` that some add."""
    turns = [("system", row["system"])] if row.get("system") else []
    for exchange in row.get("history") or []:
        if not isinstance(exchange, Sequence) or len(exchange) != 2:
            raise BadRowError("bad record")
        turns += [("user", exchange[0]), ("assistant", exchange[1])]
    asked = "\n\n".join(_text(part) for part in (row["instruction"], row.get("input")) if part)
    return _turns([*turns, ("user", asked), ("assistant", row["output"])])


def _completion(row: Mapping[str, Any]) -> Chat:
    """{"prompt", "completion"}, each a text or a list of messages."""
    return _turns([*_said(row["prompt"], "user"), *_said(row["completion"], "assistant")])


def _pair(row: Mapping[str, Any]) -> Preference:
    """{"prompt", "chosen", "rejected"}: texts, or lists of messages that begin with the prompt or after it."""
    sides = []
    for side in ("chosen", "rejected"):
        said = _said(row[side], "assistant")
        whole = said and said[0][0] in ("user", "system", "human")
        sides.append(_turns(said if whole else [*_said(row["prompt"], "user"), *said]))
    scores = {key: row[key] for key in ("score_chosen", "score_rejected") if isinstance(row.get(key), int | float)}
    if len(scores) == 2 and scores["score_chosen"] <= scores["score_rejected"]:
        raise BadRowError("tie")
    return _preference(sides[0], sides[1], scores)


def _hh(row: Mapping[str, Any]) -> Preference:
    """{"chosen", "rejected"}: two transcripts of `Human:` and `Assistant:` that part in their last answer."""
    return _preference(_transcript(row["chosen"]), _transcript(row["rejected"]), {})


def _ultrafeedback(row: Mapping[str, Any]) -> Preference:
    """{"instruction", "completions": [{"response", "overall_score"}, ...]}: the best, and one of the worse by lot."""
    best, worse = _ranked(row)
    if not worse:
        raise BadRowError("tie")
    prompt = (_message("user", row["instruction"]),)
    lot = int.from_bytes(hashlib.sha256(prompt[0].content.encode()).digest()[:4], "big")
    other = worse[lot % len(worse)]
    meta = {
        side: {"score": score, "model": str(one.get("model", ""))}
        for side, (score, one) in (("chosen", best), ("rejected", other))
    }
    chosen, rejected = (Chat((*prompt, _message("assistant", one.get("response")))) for _, one in (best, other))
    return _preference(chosen, rejected, meta)


def _best_completion(row: Mapping[str, Any]) -> Chat:
    return _turns([("user", row["instruction"]), ("assistant", _ranked(row)[0][1].get("response"))])


def _beavertails(row: Mapping[str, Any]) -> Chat:
    """{"prompt", "response", "is_safe", "category"}: safe answers alone are for learning from."""
    if row["is_safe"] is not True:
        raise BadRowError("unsafe")
    return _turns([("user", row["prompt"]), ("assistant", row["response"])])


def safety_pairs(rows: Mapping[str, Mapping[str, Any]]) -> tuple[list[Preference], list[str]]:
    """Safe over unsafe answers to the same prompt, each answer used once; and which rows found no counterpart.

    BeaverTails marks answers one by one, so its pairs are made here, of rows by name; the n-th safe one meets the n-th
    unsafe one, and the pair is named after both: `set#2+1`.
    """
    by_prompt: dict[str, dict[bool, dict[str, str]]] = {}
    for name, row in rows.items():
        by_prompt.setdefault(row["prompt"], {True: {}, False: {}})[row["is_safe"]].setdefault(row["response"], name)
    pairs, used = [], set()
    for sides in by_prompt.values():
        for names in zip(sides[True].values(), sides[False].values(), strict=False):
            used |= set(names)
            chosen, rejected = (
                _turns([("user", rows[name]["prompt"]), ("assistant", rows[name]["response"])]) for name in names
            )
            harms = sorted(harm for harm, is_so in dict(rows[names[1]].get("category") or {}).items() if is_so)
            pair = _preference(chosen, rejected, {"harm": harms})
            pairs.append(pair.model_copy(update={"id": f"{names[0]}+{names[1].rpartition('#')[2]}"}))
    return pairs, [name for name in rows if name not in used]


def check_safety_row(row: Mapping[str, Any]) -> None:
    """Whether a BeaverTails row may stand in a pair."""
    if not isinstance(row["is_safe"], bool):
        raise BadRowError("bad record")
    _turns([("user", row["prompt"]), ("assistant", row["response"])])


FORMS: dict[str, Form] = {
    "ultrafeedback": Form(("instruction", "completions"), _best_completion, _ultrafeedback),
    "pairs": Form(("prompt", "chosen", "rejected"), lambda row: _chosen(_pair(row)), _pair),
    "hh-rlhf": Form(("chosen", "rejected"), lambda row: _chosen(_hh(row)), _hh),
    "beavertails": Form(("prompt", "response", "is_safe"), _beavertails),
    "openai": Form(("messages",), _openai),
    "sharegpt": Form(("conversations",), _sharegpt),
    "alpaca": Form(("instruction", "output"), _alpaca),
    "completion": Form(("prompt", "completion"), _completion),
}
"""Form by name; a row of which none is must show the keys of one."""


def _chosen(preference: Preference) -> Chat:
    return Chat((*preference.prompt, Message(role="assistant", content=preference.chosen)))


def _preference(chosen: Chat, rejected: Chat, meta: dict[str, Any]) -> Preference:
    """Both sides share everything but their last answer."""
    if chosen.messages[:-1] != rejected.messages[:-1]:
        raise BadRowError("prompts differ")
    sides = chosen.messages[-1].content, rejected.messages[-1].content
    if sides[0] == sides[1]:
        raise BadRowError("equal sides")
    return Preference(prompt=chosen.messages[:-1], chosen=sides[0], rejected=sides[1], meta=meta)


def _ranked(row: Mapping[str, Any]) -> tuple[tuple[float, Any], list[tuple[float, Any]]]:
    """The completion of the highest mark, the first of equals, and those of lower marks."""
    scored = []
    for one in row["completions"] if isinstance(row["completions"], list) else []:
        score = next((one[key] for key in ("overall_score", "fine-grained_score") if _number(one.get(key))), None)
        if score is not None and isinstance(one.get("response"), str) and one["response"].strip():
            scored.append((float(score), one))
    if not scored:
        raise BadRowError("no score")
    best = max(scored, key=lambda pair: pair[0])
    return best, [pair for pair in scored if pair[0] < best[0]]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _transcript(text: Any) -> Chat:
    if isinstance(text, list):
        return _chat(text, "role", "content")
    if not isinstance(text, str) or not (marks := list(_HH_TURN.finditer(text))) or text[: marks[0].start()].strip():
        raise BadRowError("no transcript")
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    turns = zip(marks, ends, strict=True)
    return _turns([("user" if m[1] == "Human" else "assistant", text[m.end() : end].strip()) for m, end in turns])


def _said(value: Any, role: str) -> list[tuple[str, Any]]:
    """A text said by `role`, or messages as they say of themselves."""
    if not isinstance(value, list):
        return [(role, value)]
    if not all(isinstance(turn, Mapping) and "role" in turn for turn in value):
        raise BadRowError("bad record")
    return [(turn["role"], turn.get("content")) for turn in value]


def _chat(turns: Any, role: str, content: str) -> Chat:
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise BadRowError("bad record")
    if any(turn.get("tool_calls") or turn.get("function_call") for turn in turns):
        raise BadRowError("tools")
    weights: Sequence[Any] = ()
    if any(turn.get("weight") is not None for turn in turns):
        weights = [1 if turn.get("weight") is None else turn["weight"] for turn in turns]
    return _turns([(turn.get(role), turn.get(content)) for turn in turns], weights)


def _turns(turns: Sequence[tuple[Any, Any]], weights: Sequence[Any] = ()) -> Chat:
    """Messages of known roles: the user and the assistant take turns and the assistant has the last word."""
    if any(isinstance(weight, bool) or weight not in (0, 1) for weight in weights):
        raise BadRowError("bad weight")
    kept = [i for i, (role, content) in enumerate(turns) if _ROLES.get(str(role)) != "system" or content]
    messages = tuple(_message(*turns[i]) for i in kept)
    spoken = [message.role for message in messages if message.role != "system"]
    if not spoken:
        raise BadRowError("no turns")
    roles = f"the roles are {', '.join(message.role for message in messages)[:80]}"
    if spoken[0] != "user" or any(first == second for first, second in pairwise(spoken)):
        raise BadRowError("turns out of order", roles)
    if messages[-1].role != "assistant":
        raise BadRowError("ends mid-turn", roles)
    return Chat(messages, tuple(int(weights[i]) for i in kept) if weights else ())


def _message(role: Any, content: Any) -> Message:
    if role in _TOOL_ROLES:
        raise BadRowError("tools", f"a role is {role!r}")
    if (known := _ROLES.get(str(role))) is None:
        raise BadRowError("unknown role", f"a role is {role!r:.40}")
    text = _text(content)
    if not text.strip():
        raise BadRowError("empty turn")
    if mark := next((mark for mark in MARKS if mark in text), None):
        raise BadRowError("template in text", f"it holds {mark!r}")
    return Message(role=known, content=text)  # type: ignore[arg-type]


def _text(content: Any) -> str:
    """A text, or the texts of OpenAI's list of parts."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        if len(texts) < len(content):
            raise BadRowError("not text", f"content is {content!r:.60}")
        content = "".join(map(str, texts))
    if content is None:
        raise BadRowError("empty turn")
    if not isinstance(content, str):
        raise BadRowError("not text", f"content is {content!r:.60}")
    return whole_characters(content)
