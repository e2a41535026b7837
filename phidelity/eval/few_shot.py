"""Asking a base model: solved examples as plain text, in the better of two formats.

A base model knows no chat, so it is shown examples in the forms that textbooks use: a question with its solution
below, bare or labelled. Which form serves it better is decided on problems of the development split, which never
count as results. The instructions to the user ("End with ...") are left out: the examples show the form.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from typing import Literal

from phidelity.problems import prompts
from phidelity.records import Problem

Format = Literal["bare", "labelled"]

FORMATS: tuple[Format, ...] = ("bare", "labelled")
STOP = "\n\n"
"""What ends an answer: the blank line between examples."""

_LABELS = {"en": ("Question", "Solution"), "de": ("Frage", "Lösung")}
_TEMPLATES = (*prompts.MGSM.values(), prompts.MATH, prompts.MULTIPLE_CHOICE, prompts.DROP)
_INSTRUCTIONS = tuple(template.rpartition("}")[2] for template in _TEMPLATES)


def render(form: Format, exemplars: Sequence[Problem], problem: Problem) -> str:
    """The examples with their solutions, then the question up to where its solution begins."""
    blocks = [_block(form, one, solution(one)) for one in exemplars]
    return STOP.join([*blocks, _block(form, problem, "")])


def question(problem: Problem) -> str:
    """The question without the instructions of the chat message; the head of a function for code."""
    if problem.checker == "code":
        return str(problem.meta["code"]).rstrip("\n")
    text = problem.prompt
    for instruction in _INSTRUCTIONS:
        text = text.removesuffix(instruction)
    return text


def solution(problem: Problem) -> str:
    """The worked solution where the problem brings one, else its answer in the form asked for."""
    if problem.checker == "code":
        head, _, rest = problem.reference.partition("\n")
        return (rest if head.startswith("def ") else problem.reference).rstrip()
    if "solution" in problem.meta:
        return str(problem.meta["solution"])
    if problem.meta.get("benchmark") == "simpleqa":
        return problem.reference
    return prompts.last_line(problem.reference, problem.meta.get("language", "en"))


def in_turn(problems: Sequence[Problem], n: int) -> list[Problem]:
    """The first `n` problems, the families taking turns."""
    families: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        families[problem.meta.get("family", "")].append(problem)
    return [one for turn in zip_longest(*families.values()) for one in turn if one is not None][:n]


def _block(form: Format, problem: Problem, solved: str) -> str:
    if form == "bare" or problem.checker == "code":
        return f"{question(problem)}\n{solved}"
    asked, answered = _LABELS.get(problem.meta.get("language", "en"), _LABELS["en"])
    return f"{asked}: {question(problem)}\n{answered}:" + (f" {solved}" if solved else "")
