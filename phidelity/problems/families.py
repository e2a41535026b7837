"""All families of problems, and what is said about one: the user's message, the answer, the record.

`training_problem`, `development_problem` and `held_out_problem` give the records that training, the choice of
prompt formats, and evaluation work with. The miniatures keep the message of the benchmark that they stand for; the
course (docs/problems.md), which textbooks and chats are made of, asks its bare question.
"""

from phidelity.problems import prompts
from phidelity.problems.algebra import ALGEBRA
from phidelity.problems.arithmetic import MONEY, THINGS
from phidelity.problems.atlas import ATLAS
from phidelity.problems.chance import CHANCE
from phidelity.problems.choices import CHAIN, CHOICES
from phidelity.problems.dates import CALENDAR
from phidelity.problems.divisors import DIVISIBILITY
from phidelity.problems.facts import FACT, UNKNOWN_FACT
from phidelity.problems.functions import FUNCTION
from phidelity.problems.geometry import GEOMETRY
from phidelity.problems.graphs import GRAPHS
from phidelity.problems.instruction import INSTRUCTION
from phidelity.problems.item import Checker, Family, Item, Split
from phidelity.problems.logic import LOGIC
from phidelity.problems.measures import MEASURES
from phidelity.problems.numbers import NUMBERS
from phidelity.problems.passages import PASSAGE
from phidelity.problems.polyglot import POLYGLOT
from phidelity.problems.programs import PROGRAMS
from phidelity.problems.reading import READING
from phidelity.problems.worlds import WORLDS
from phidelity.records import Conversation, Message, Problem

MINIATURES: tuple[Family, ...] = (*THINGS, *MONEY, *CHOICES, CHAIN, PASSAGE, FUNCTION, FACT, UNKNOWN_FACT)
"""What the miniature benchmarks are made of."""
COURSE: tuple[Family, ...] = (
    *NUMBERS, *DIVISIBILITY, *ALGEBRA, *GEOMETRY, *CHANCE, *MEASURES, *CALENDAR, *LOGIC, *GRAPHS, *WORLDS, *READING,
    *PROGRAMS, *ATLAS, *POLYGLOT,
)  # fmt: skip
"""What textbooks are made of: one family a lesson, each with an explanation of its method."""
FAMILIES = (*MINIATURES, *COURSE, INSTRUCTION)
_BY_NAME = {one.name: one for one in FAMILIES}

BENCHMARK = {
    "things_en": "math", "things_de": "mgsm", "money_en": "mgsm", "money_de": "mgsm",
    "choice_sum": "mmlu", "choice_largest": "mmlu", "choice_fact": "mmlu", "choice_chain": "gpqa",
    "passage": "drop", "function": "humaneval", "fact": "simpleqa", "unknown": "simpleqa",
    "instruction": "ifeval",
}  # fmt: skip
"""Which benchmark's message and grader a family is met with."""


def family(name: str) -> Family:
    """The family of that name."""
    return _BY_NAME[name]


def item(name: str, split: Split, seed: int, index: int) -> Item:
    """Problem `index` of a family's split: a function of the arguments alone."""
    return family(name).item(split, seed, index)


def check(item: Item, answer: str) -> bool:
    """Whether `answer` is right, recomputed from the item's meta."""
    return family(item.family).check(item, answer)


def user_message(item: Item) -> str:
    """What the user says: the message of the family's benchmark."""
    benchmark = BENCHMARK.get(item.family)
    if benchmark in (None, "ifeval"):
        return item.question
    if benchmark == "math":
        return prompts.math(item.question)
    if benchmark == "mgsm":
        return prompts.mgsm(item.question, item.language)
    if benchmark in ("mmlu", "gpqa"):
        return prompts.multiple_choice(item.question, item.meta["options"])
    if benchmark == "drop":
        return prompts.drop(context(item))
    return prompts.humaneval(item.question) if benchmark == "humaneval" else prompts.simpleqa(item.question)


def assistant_message(item: Item) -> str:
    """The model answer: the steps and the last line, a fenced function, or a sentence."""
    benchmark = BENCHMARK.get(item.family)
    if benchmark == "humaneval":
        return f"```python\n{item.answer}```"
    if benchmark == "ifeval":
        return item.answer
    if benchmark == "simpleqa":
        return str(item.meta["sentence"])
    return "\n".join((*item.steps, prompts.last_line(item.answer, item.language)))


def context(item: Item) -> str:
    """A passage with its question as DROP's files write it."""
    return f"Passage: {item.meta['passage']}\nQuestion: {item.meta['asked']}\nAnswer:"


def conversation(item: Item, source: str) -> Conversation:
    """The question and its model answer as a chat."""
    messages = (
        Message(role="user", content=user_message(item)),
        Message(role="assistant", content=assistant_message(item)),
    )
    meta = {"family": item.family, "language": item.language, "template": item.template}
    return Conversation(id=item.id, messages=messages, source=source, meta=meta)


def problem(item: Item) -> Problem:
    """The record of an item: the user's message, the reference, and the name of the checker that decides."""
    meta = {
        "family": item.family, "benchmark": BENCHMARK.get(item.family, "course"), "language": item.language,
        "split": item.split, "stratum": item.stratum, "template": item.template, "question": item.question,
    }  # fmt: skip
    shown = {"prompt": "code", "entry_point": "entry_point", "test": "test", "options": "options", "subject": "subject"}
    shown |= {"instructions": "instructions", "arguments": "arguments"}
    meta |= {name: item.meta[key] for key, name in shown.items() if key in item.meta}
    return Problem(id=item.id, prompt=user_message(item), reference=item.answer, checker=_checker(item), meta=meta)


def training_problem(name: str, seed: int, index: int) -> Problem:
    """Problem `index` of a family's training split."""
    return problem(item(name, "train", seed, index))


def development_problem(name: str, seed: int, index: int) -> Problem:
    """Problem `index` of a family's development split: for choices and thresholds, in no table of results."""
    return problem(item(name, "development", seed, index))


def held_out_problem(name: str, seed: int, index: int) -> Problem:
    """Problem `index` of a family's test split."""
    return problem(item(name, "test", seed, index))


def _checker(item: Item) -> Checker:
    """The checker of the family; a passage may ask for a name."""
    asks_who = item.family == "passage" and not item.answer.isdigit()
    return "text" if asks_who else family(item.family).checker
