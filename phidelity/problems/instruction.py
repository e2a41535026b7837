"""Requests with a checkable constraint, in the manner of IFEval: 25 kinds, each with an answer that keeps to it.

The answer is composed from the sentences of `subjects.py`; whether it follows is decided by `grading/instructions.py`,
which knows nothing of how it was made. Held out are three subjects, a wording of every constraint and the middle of
every range. The words are ours; nothing is taken from IFEval's prompts.
"""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from phidelity.grading.instructions import follow
from phidelity.problems.item import Item
from phidelity.problems.polyglot import tongue
from phidelity.problems.subjects import SUBJECTS
from phidelity.problems.topic import Sketch, between, one_of, part, pick, topic

_ASK = ("Tell me about {t}.", "Write something about {t}.", "What do you know about {t}?",
        "Please say something about {t}.", "I would like to read about {t}.", "Give me some facts about {t}.",
        "Explain to me what one should know about {t}.")  # fmt: skip
_SPEECH = {
    "de": "German",
    "es": "Spanish",
    "fr": "French",
    "pt": "Portuguese",
    "it": "Italian",
    "hi": "Hindi",
    "ja": "Japanese",
}


class Part(NamedTuple):
    """A constraint made concrete: its official name, arguments, the words for the request, and the answer."""

    name: str
    arguments: dict[str, Any]
    slots: dict[str, Any]
    answer: str


Make = Callable[[random.Random, list[str], bool], Part]


def _sentences(rng: random.Random, said: list[str], held: bool) -> Part:
    n = pick(rng, 2, 6, held)
    return Part(
        "length_constraints:number_sentences",
        {"relation": "at least", "num_sentences": n},
        {"k": n},
        " ".join(said[:n]),
    )


def _short(rng: random.Random, said: list[str], held: bool) -> Part:
    n = pick(rng, 2, 6, held)
    arguments = {"relation": "less than", "num_sentences": n}
    return Part("length_constraints:number_sentences", arguments, {"k": n}, " ".join(said[: n - 1]))


def _few_words(rng: random.Random, said: list[str], held: bool) -> Part:
    n = pick(rng, 12, 30, held)
    answer, count = [said[0]], len(said[0].split())
    for sentence in said[1:]:
        count += len(sentence.replace("'", " ").split())
        if count >= n:
            break
        answer.append(sentence)
    return Part(
        "length_constraints:number_words", {"relation": "less than", "num_words": n}, {"k": n}, " ".join(answer)
    )


def _many_words(rng: random.Random, said: list[str], held: bool) -> Part:
    n = pick(rng, 8, 28, held)
    answer: list[str] = []
    while sum(len(sentence.split()) for sentence in answer) < n:
        answer.append(said[len(answer)])
    return Part("length_constraints:number_words", {"relation": "at least", "num_words": n}, {"k": n}, " ".join(answer))


def _bullets(rng: random.Random, said: list[str], held: bool) -> Part:
    n = pick(rng, 2, 6, held)
    answer = "\n".join(f"* {sentence}" for sentence in said[:n])
    return Part("detectable_format:number_bullet_lists", {"num_bullets": n}, {"k": n}, answer)


def _paragraphs(rng: random.Random, said: list[str], held: bool) -> Part:
    n = pick(rng, 2, 6, held)
    return Part("length_constraints:number_paragraphs", {"num_paragraphs": n}, {"k": n}, "\n***\n".join(said[:n]))


def _nth_paragraph(rng: random.Random, said: list[str], held: bool) -> Part:
    n = pick(rng, 2, 6, held)
    nth = between(rng, 1, n)
    word = said[nth - 1].split()[0].lower()
    arguments = {"num_paragraphs": n, "nth_paragraph": nth, "first_word": word}
    return Part(
        "length_constraints:nth_paragraph_first_word", arguments, {"k": n, "i": nth, "x": word}, "\n\n".join(said[:n])
    )


def _keywords(rng: random.Random, said: list[str], held: bool) -> Part:
    found = [max(sentence.rstrip(".").split(), key=len) for sentence in said[:2]]
    return Part("keywords:existence", {"keywords": found}, {"x": found[0], "y": found[1]}, " ".join(said[:3]))


def _frequency(rng: random.Random, said: list[str], held: bool) -> Part:
    n, word = pick(rng, 2, 5, held), one_of(rng, part(("indeed", "really", "truly", "certainly", "surely"), held))
    answer = " ".join(f"{word.capitalize()}, {sentence[0].lower()}{sentence[1:]}" for sentence in said[:n])
    arguments = {"keyword": word, "relation": "at least", "frequency": n}
    return Part("keywords:frequency", arguments, {"k": n, "x": word}, answer)


def _forbidden(rng: random.Random, said: list[str], held: bool) -> Part:
    text = " ".join(said[:3])
    words = [word for word in part(("people", "good", "water", "many", "the", "some", "must", "night", "has", "old"), held)
             if word not in text.lower()]  # fmt: skip
    chosen = rng.sample(
        [*words, *part(("sugar", "money", "number", "music hall", "paper"), held)], 2 if not held else 1
    )
    return Part(
        "keywords:forbidden_words",
        {"forbidden_words": chosen},
        {"x": " and ".join(f'"{word}"' for word in chosen)},
        text,
    )


def _letters(rng: random.Random, said: list[str], held: bool) -> Part:
    text, letter = " ".join(said[:4]), one_of(rng, part(("e", "a", "o", "r", "t"), held))
    letter = letter if letter in text else "e"
    n = max(1, text.lower().count(letter) - between(rng, 0, 3))
    arguments = {"letter": letter, "let_relation": "at least", "let_frequency": n}
    return Part("keywords:letter_frequency", arguments, {"k": n, "x": letter}, text)


def _placeholders(rng: random.Random, said: list[str], held: bool) -> Part:
    n, names = pick(rng, 2, 5, held), ("name", "date", "place", "address", "city", "number")
    blanks = " ".join(f"[{name}]" for name in rng.sample(names, n))
    return Part(
        "detectable_content:number_placeholders",
        {"num_placeholders": n},
        {"k": n},
        f"{said[0]} To be filled in: {blanks}.",
    )


def _postscript(rng: random.Random, said: list[str], held: bool) -> Part:
    mark = "P.P.S" if held else "P.S."
    return Part(
        "detectable_content:postscript",
        {"postscript_marker": mark},
        {"x": mark},
        f"{' '.join(said[:2])}\n\n{mark} {said[2]}",
    )


def _highlights(rng: random.Random, said: list[str], held: bool) -> Part:
    n = pick(rng, 2, 6, held)
    answer = " ".join(f"*{sentence[:-1]}*." for sentence in said[:n])
    return Part("detectable_format:number_highlighted_sections", {"num_highlights": n}, {"k": n}, answer)


def _sections(rng: random.Random, said: list[str], held: bool) -> Part:
    n, word = pick(rng, 2, 5, held), one_of(rng, part(("SECTION", "Part", "Chapter", "Day"), held))
    answer = "\n".join(f"{word} {number}\n{sentence}" for number, sentence in enumerate(said[:n], 1))
    return Part(
        "detectable_format:multiple_sections", {"section_spliter": word, "num_sections": n}, {"k": n, "x": word}, answer
    )


def _json(rng: random.Random, said: list[str], held: bool) -> Part:
    keys = ("title", "text", "note")
    answer = json.dumps(dict(zip(keys, said, strict=False)), indent=1)
    return Part("detectable_format:json_format", {}, {}, answer)


def _title(rng: random.Random, said: list[str], held: bool) -> Part:
    return Part("detectable_format:title", {}, {}, f"<<{said[0][:-1]}>>\n{' '.join(said[1:4])}")


def _two(rng: random.Random, said: list[str], held: bool) -> Part:
    return Part("combination:two_responses", {}, {}, f"{said[0]} {said[1]}\n******\n{said[2]} {said[3]}")


def _end(rng: random.Random, said: list[str], held: bool) -> Part:
    phrase = one_of(rng, part(_ENDINGS, held))
    return Part("startend:end_checker", {"end_phrase": phrase}, {"x": phrase}, f"{' '.join(said[:3])} {phrase}")


_ENDINGS = (
    "That is all I know.",
    "I hope this helps.",
    "Is there anything else?",
    "Now you know it too.",
    "This is the end.",
)


def _quotation(rng: random.Random, said: list[str], held: bool) -> Part:
    return Part("startend:quotation", {}, {}, f'"{" ".join(said[:3])}"')


def _capital_words(rng: random.Random, said: list[str], held: bool) -> Part:
    n = pick(rng, 2, 6, held)
    words = " ".join(said[:3]).split()
    spoken = [place for place, word in enumerate(words) if word[0].isalpha()][:n]
    loud = [word.upper() if place in spoken else word for place, word in enumerate(words)]
    arguments = {"capital_relation": "at least", "capital_frequency": n}
    return Part("change_case:capital_word_frequency", arguments, {"k": n}, " ".join(loud))


def _capitals(rng: random.Random, said: list[str], held: bool) -> Part:
    return Part("change_case:english_capital", {}, {}, " ".join(sorted(said)).upper())


def _lower(rng: random.Random, said: list[str], held: bool) -> Part:
    return Part("change_case:english_lowercase", {}, {}, " ".join(said[:5]).lower())


def _no_comma(rng: random.Random, said: list[str], held: bool) -> Part:
    return Part("punctuation:no_comma", {}, {}, " ".join(said[: between(rng, 2, 5)]))


def _language(rng: random.Random, said: list[str], held: bool) -> Part:
    code = one_of(rng, part(("de", "es", "fr", "it", "hi", "ja", "pt"), held))
    about = one_of(rng, ("shop", "share", "journey", "together"))
    slots = {"x": _SPEECH[code], "t": _LESSONS["en"][about][0]}
    return Part("language:response_language", {"language": code}, slots, _LESSONS[code][about][1])


_LESSONS = {
    code: {
        name: (words[name]["title"].lower(), words[name]["lesson"]) for name in ("shop", "share", "journey", "together")
    }
    for code in ("en", *_SPEECH)
    for words in [tongue(code)]
}


def _repeat(rng: random.Random, said: list[str], held: bool) -> Part:
    return Part("combination:repeat_prompt", {}, {}, " ".join(said[:3]))


def _choice(rng: random.Random, said: list[str], held: bool) -> Part:
    answer = one_of(rng, ("yes", "no"))
    statement = said[0] if answer == "yes" else _FALSE
    return Part("detectable_format:constrained_response", {}, {"x": statement}, f"My answer is {answer}.")


_FALSE = "A stone is lighter than a feather."
_MAKERS: dict[str, Make] = {
    "sentences": _sentences, "short": _short, "few_words": _few_words, "many_words": _many_words, "bullets": _bullets,
    "paragraphs": _paragraphs, "nth": _nth_paragraph, "keywords": _keywords, "frequency": _frequency,
    "forbidden": _forbidden, "letters": _letters, "placeholders": _placeholders, "postscript": _postscript,
    "highlights": _highlights, "sections": _sections, "json": _json, "title": _title, "two": _two, "end": _end,
    "quotation": _quotation, "capital_words": _capital_words, "capitals": _capitals, "lower": _lower,
    "no_comma": _no_comma, "language": _language, "repeat": _repeat, "choice": _choice,
}  # fmt: skip
KINDS = tuple(_MAKERS)
_NAMES = {False: part(tuple(SUBJECTS), held=False), True: part(tuple(SUBJECTS), held=True)}


def instruction(rng: random.Random, held: bool) -> Sketch:
    """A request about a subject with one constraint, and an answer that keeps to it."""
    kind = one_of(rng, KINDS)
    subject = one_of(rng, _NAMES[held])
    made = _MAKERS[kind](rng, rng.sample(SUBJECTS[subject], len(SUBJECTS[subject])), held)
    asked = one_of(rng, part(_ASK, held)).format(t=subject)
    arguments, answer = made.arguments, made.answer
    if kind == "repeat":
        arguments, answer = {"prompt_to_repeat": asked}, f"{asked} {answer}"
    slots = {"ask": asked, **made.slots}
    return Sketch(kind, slots, (), answer, {"instructions": [made.name], "arguments": [arguments]})


def followed(item: Item, answer: str) -> bool:
    """Whether the answer follows every instruction of the item, by IFEval's strict reading."""
    return all(follow(answer, item.meta["instructions"], item.meta["arguments"]).strict)


_TOPIC = topic(
    "instruction", "instructions", "Following instructions", draw=instruction, solve=lambda meta: "", checker="instructions",
    lesson=(
        "A request often says not only what is wanted but also in which form. Read the form first, plan the answer for it, "
        "and check at the end that every condition is met.",
    ),
    wordings="""
sentences | {ask} Use at least {k} sentences.
sentences | {ask} Your answer must have {k} or more sentences.
sentences ! {ask} I expect no fewer than {k} sentences.
short | {ask} Use fewer than {k} sentences.
short | {ask} Stay below {k} sentences.
short ! {ask} The number of sentences must be smaller than {k}.
few_words | {ask} Use fewer than {k} words.
few_words | {ask} Keep it under {k} words.
few_words ! {ask} The answer must be shorter than {k} words.
many_words | {ask} Use at least {k} words.
many_words | {ask} Write {k} words or more.
many_words ! {ask} Do not stop before you have written {k} words.
bullets | {ask} Answer with exactly {k} bullet points, each beginning with *.
bullets | {ask} Make a list of exactly {k} points and begin each line with *.
bullets ! {ask} I want precisely {k} bullets marked by * and nothing else.
paragraphs | {ask} Write exactly {k} paragraphs with *** between them.
paragraphs | {ask} Divide the answer into {k} paragraphs by lines with ***.
paragraphs ! {ask} There should be {k} paragraphs, parted by ***.
nth | {ask} Write {k} paragraphs with an empty line between them. Paragraph {i} must begin with the word {x}.
nth | {ask} Give {k} paragraphs, parted by empty lines; number {i} begins with "{x}".
nth ! {ask} Of your {k} paragraphs, divided by blank lines, let number {i} start with the word "{x}".
keywords | {ask} Use the words {x} and {y}.
keywords | {ask} The words "{x}" and "{y}" must occur.
keywords ! {ask} See to it that "{x}" and "{y}" appear in your text.
frequency | {ask} Use the word "{x}" at least {k} times.
frequency | {ask} The word {x} must occur {k} times or more.
frequency ! {ask} Let the word "{x}" appear no fewer than {k} times.
forbidden | {ask} Do not use the words {x}.
forbidden | {ask} Avoid the words {x}.
forbidden ! {ask} Your text may not contain {x}.
letters | {ask} The letter {x} must occur at least {k} times.
letters | {ask} Use the letter "{x}" {k} times or more.
letters ! {ask} Make sure that one can count the letter {x} no fewer than {k} times.
placeholders | {ask} Include at least {k} placeholders in square brackets, such as [name].
placeholders | {ask} Leave {k} or more blanks to be filled in, written like [name].
placeholders ! {ask} Add no fewer than {k} fields in square brackets, for example [name].
postscript | {ask} Add a postscript that begins with {x}
postscript | {ask} At the end, write a postscript starting with {x}
postscript ! {ask} Close with a postscript, marked by {x}
highlights | {ask} Highlight at least {k} parts with stars, like *this*.
highlights | {ask} Put {k} or more passages between stars, like *this*.
highlights ! {ask} Mark no fewer than {k} passages by stars, as in *this*.
sections | {ask} Write {k} sections and begin each with {x} and its number, as in {x} 1.
sections | {ask} Divide the answer into {k} parts headed {x} 1, {x} 2 and so on.
sections ! {ask} Your text needs {k} numbered headings of the form {x} 1.
json | {ask} Answer in JSON only.
json | {ask} Give the whole answer as one JSON object.
json ! {ask} The output must be valid JSON and nothing besides.
title | {ask} Give the answer a title in double angle brackets, like <<title>>.
title | {ask} Begin with a title, written as <<title>>.
title ! {ask} Put a headline above it, enclosed like this: <<headline>>.
two | {ask} Give two different answers, parted by ******.
two | {ask} Write two versions with ****** between them.
two ! {ask} I want a pair of different replies, divided by ******.
end | {ask} End with exactly these words: {x}
end | {ask} The last sentence must be: {x}
end ! {ask} Close your answer word for word with: {x}
quotation | {ask} Put the whole answer in double quotation marks.
quotation | {ask} Your answer must stand between double quotation marks.
quotation ! {ask} Wrap everything you say in double quotation marks.
capital_words | {ask} Write at least {k} words in capital letters.
capital_words | {ask} Let {k} or more words be all capitals.
capital_words ! {ask} No fewer than {k} words should stand in capital letters.
capitals | {ask} Use only capital letters.
capitals | {ask} Write everything in capital letters.
capitals ! {ask} No small letter may occur in your answer.
lower | {ask} Use only small letters.
lower | {ask} Write everything in lower case.
lower ! {ask} No capital letter may occur in your answer.
no_comma | {ask} Do not use commas.
no_comma | {ask} Write without any comma.
no_comma ! {ask} Your answer must be free of commas.
language | Write in {x} only. Explain the method behind {t} in arithmetic.
language | Explain in {x} how one works out problems of {t}. No other language is allowed.
language ! Your whole answer must be in {x}. Tell how one solves problems of the kind "{t}".
repeat | {ask} First repeat the sentence before this one word for word, then answer.
repeat | {ask} Before you answer, say again the sentence before this one, unchanged.
repeat ! {ask} Begin by copying the foregoing sentence exactly; after that, reply.
choice | Is this true? {x} Answer with one of these: My answer is yes. My answer is no. My answer is maybe.
choice | {x} Do you agree? Say one of: My answer is yes. My answer is no. My answer is maybe.
choice ! Judge this statement: {x} Reply only with "My answer is yes.", "My answer is no." or "My answer is maybe."
""",
)  # fmt: skip
INSTRUCTION = replace(_TOPIC, check=followed)
