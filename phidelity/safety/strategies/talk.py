"""What a strategy is: a generator that yields whom to ask what, gets the answer, and returns the conversation.

So many conversations advance side by side, each wave of questions in one call, and a strategy reads from top to
bottom. What it needs of a target or of helpers is declared; who lacks it is not attacked in that way.
"""

import random
from collections.abc import Callable, Generator, Sequence
from typing import Literal, NamedTuple

from phidelity.completion import Completion
from phidelity.records import Message
from phidelity.safety.suites import Objective

Role = Literal["target", "attacker", "judge"]


class Ask(NamedTuple):
    """A question to one of the three."""

    to: Role
    messages: tuple[Message, ...]


class Attempt(NamedTuple):
    """The conversation up to the last answer, and that answer: None where the attacker never put the request."""

    messages: tuple[Message, ...]
    answer: Completion | None
    note: str = ""


Talk = Generator[Ask, Completion, Attempt]


class Strategy(NamedTuple):
    """A way of attacking."""

    name: str
    run: Callable[[Objective, random.Random, bool], Talk]
    """(objective, rng, whether there is a judge) -> talk"""
    needs: frozenset[str] = frozenset()
    """Of: turns, history, attacker."""


def user(text: str) -> Message:
    """A user's turn."""
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    """An assistant's turn."""
    return Message(role="assistant", content=text)


def opening(objective: Objective) -> list[Message]:
    """The system message that belongs to a request, where it has one."""
    return [Message(role="system", content=objective.system)] if objective.system else []


def say(objective: Objective, turns: Sequence[Message]) -> Talk:
    """Say `turns` one after the other; the target answers wherever two of the user's follow each other, and at the end.

    An assistant's turn among them is a faked one.
    """
    said = opening(objective)
    for place, turn in enumerate(turns):
        said.append(turn)
        is_last = place + 1 == len(turns)
        if turn.role == "user" and (is_last or turns[place + 1].role == "user"):
            answer = yield Ask("target", tuple(said))
            if is_last:
                return Attempt(tuple(said), answer)
            said.append(assistant(answer.text))
    raise AssertionError("the last turn is the user's")
