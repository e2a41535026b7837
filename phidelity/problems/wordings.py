"""The wordings of the word problems: what training sees and what is kept for the test.

Slots: {a} {b} {c} operands in the order of the operations, {n} {m} two people, {t} {s} two things. A held-out
wording uses words that training knows, in an order that it does not. The first set (things in boxes) is
mini-MATH's, the second (money and age) mini-MGSM's; the bare sum teaches the column work without words.
"""

from typing import NamedTuple

from phidelity.problems.columns import Operation


class Wording(NamedTuple):
    """A text with slots and the operations that solve it."""

    operations: tuple[Operation, ...]
    text: str


class Wordings(NamedTuple):
    """The wordings of a family: one operation or two, in training; and those held out."""

    one: tuple[Wording, ...]
    two: tuple[Wording, ...]
    held_out: tuple[Wording, ...]


def _read(table: str) -> tuple[Wording, ...]:
    """Lines `operations | text`."""
    lines = (line.split(" | ") for line in table.strip().splitlines())
    return tuple(Wording(tuple(operations.split()), text) for operations, text in lines)  # pyright: ignore[reportArgumentType]


THINGS_EN = Wordings(
    one=_read("""
+ | {n} has {a} {t}. {m} gives {n} {b} {t}. How many {t} does {n} have now?
+ | {n} has {a} {t}. {m} has {b} {t}. How many {t} do they have in all?
+ | There are {a} {t} in a box. {n} puts {b} more {t} in the box. How many {t} are there?
+ | {n} finds {a} {t} and then {b} more {t}. How many {t} does {n} find in all?
+ | What is {a} + {b}?
- | {n} has {a} {t}. {n} gives {b} {t} to {m}. How many {t} does {n} have left?
- | {n} has {a} {t}. {n} loses {b} {t}. How many {t} are left?
- | There are {a} {t} in a box. {n} takes {b} {t} out of the box. How many {t} are left?
- | {n} has {a} {t}. {m} has {b} {t}. How many more {t} does {n} have?
- | What is {a} - {b}?
* | {n} has {b} boxes. Each box has {a} {t}. How many {t} does {n} have?
* | There are {a} {t} in each box. How many {t} are in {b} boxes?
* | {n} finds {a} {t} each day. How many {t} does {n} find in {b} days?
* | What is {a} * {b}?
"""),
    two=_read("""
+ - | {n} has {a} {t}. {m} gives {n} {b} {t}. Then {n} loses {c} {t}. How many {t} does {n} have left?
- + | {n} has {a} {t}. {n} gives {b} {t} to {m}. Then {n} finds {c} {t}. How many {t} does {n} have now?
+ + | {n} has {a} {t}. {n} finds {b} {t} and then {c} more {t}. How many {t} does {n} have now?
* + | {n} has {b} boxes. Each box has {a} {t}. {n} finds {c} more {t}. How many {t} does {n} have now?
* - | {n} has {b} boxes. Each box has {a} {t}. {n} gives {c} {t} to {m}. How many {t} does {n} have left?
"""),
    held_out=_read("""
+ | {n} has {a} {t} in a box. Then {n} finds {b} more {t}. How many {t} does {n} have in all?
+ | {m} gives {n} {a} {t} and then {b} more {t}. How many {t} does {n} have now?
- | {n} finds {a} {t} and loses {b} {t}. How many {t} does {n} have left?
- | There are {a} {t} in a box. {n} gives {b} {t} to {m}. How many {t} are left?
* | {n} gives {m} {a} {t} each day. How many {t} does {m} have in {b} days?
* | Each box has {a} {t}. {n} takes {b} boxes. How many {t} does {n} have in all?
+ - | There are {a} {t} in a box. {n} puts {b} {t} in the box and takes {c} {t} out. How many {t} are left?
- + | {n} has {a} {t} and loses {b} {t}. Then {m} gives {n} {c} {t}. How many {t} does {n} have now?
"""),
)

THINGS_DE = Wordings(
    one=_read("""
+ | {n} hat {a} {t}. {m} gibt {n} {b} {t}. Wie viele {t} hat {n} jetzt?
+ | {n} hat {a} {t}. {m} hat {b} {t}. Wie viele {t} haben sie zusammen?
+ | {n} findet {a} {t} und dann noch {b} {t}. Wie viele {t} findet {n} zusammen?
+ | Was ist {a} + {b}?
- | {n} hat {a} {t}. {n} gibt {m} {b} {t}. Wie viele {t} hat {n} noch?
- | {n} hat {a} {t}. {n} verliert {b} {t}. Wie viele {t} hat {n} noch?
- | {n} hat {a} {t}. {m} hat {b} {t}. Wie viele {t} hat {n} mehr?
- | Was ist {a} - {b}?
* | {n} hat {b} Kisten. In jeder Kiste sind {a} {t}. Wie viele {t} hat {n}?
* | {n} findet jeden Tag {a} {t}. Wie viele {t} findet {n} in {b} Tagen?
* | Was ist {a} * {b}?
"""),
    two=_read("""
+ - | {n} hat {a} {t}. {m} gibt {n} {b} {t}. Dann verliert {n} {c} {t}. Wie viele {t} hat {n} noch?
- + | {n} hat {a} {t}. {n} gibt {m} {b} {t}. Dann findet {n} {c} {t}. Wie viele {t} hat {n} jetzt?
"""),
    held_out=_read("""
+ | {m} gibt {n} {a} {t} und dann noch {b} {t}. Wie viele {t} hat {n} jetzt?
- | {n} findet {a} {t} und verliert {b} {t}. Wie viele {t} hat {n} noch?
* | {m} gibt {n} jeden Tag {a} {t}. Wie viele {t} hat {n} in {b} Tagen?
"""),
)

MONEY_EN = Wordings(
    one=_read("""
+ | {n} buys {t} for {a} euros and {s} for {b} euros. How many euros does {n} pay?
+ | {n} is {a} years old. {m} is {b} years older. How old is {m}?
- | {n} has {a} euros. {n} buys {t} for {b} euros. How many euros are left?
- | {n} is {a} years old. {m} is {b} years younger. How old is {m}?
* | {n} buys {b} {t} for {a} euros each. How many euros does {n} pay?
"""),
    two=_read("""
- - | {n} has {a} euros. {n} buys {t} for {b} euros and {s} for {c} euros. How many are left?
* + | {n} buys {b} {t} for {a} euros each and {s} for {c} euros. What does {n} pay?
"""),
    held_out=_read("""
+ | {n} pays {a} euros for {t} and {b} euros for {s}. How many euros is that in all?
- | {n} buys {t} for {b} euros. {n} had {a} euros. How many euros does {n} have left?
* | The {t} are {a} euros each. {n} buys {b} {t}. How many euros does {n} pay?
"""),
)

MONEY_DE = Wordings(
    one=_read("""
+ | {n} kauft {t} für {a} Euro und {s} für {b} Euro. Wie viele Euro zahlt {n}?
+ | {n} ist {a} Jahre alt. {m} ist {b} Jahre älter. Wie alt ist {m}?
- | {n} hat {a} Euro. {n} kauft {t} für {b} Euro. Wie viele Euro hat {n} noch?
- | {n} ist {a} Jahre alt. {m} ist {b} Jahre jünger. Wie alt ist {m}?
* | {n} kauft {b} {t} für je {a} Euro. Wie viele Euro zahlt {n}?
"""),
    two=_read("""
- - | {n} hat {a} Euro. {n} kauft {t} für {b} Euro und {s} für {c} Euro. Wie viele Euro hat {n} noch?
* + | {n} kauft {b} {t} für je {a} Euro und {s} für {c} Euro. Was zahlt {n}?
"""),
    held_out=_read("""
+ | {n} zahlt {a} Euro für {t} und {b} Euro für {s}. Wie viele Euro sind das zusammen?
- | {n} kauft {t} für {b} Euro. {n} hatte {a} Euro. Wie viele Euro hat {n} noch?
* | Die {t} kosten je {a} Euro. {n} kauft {b} {t}. Wie viele Euro zahlt {n}?
"""),
)
