"""Reading: tables, and reports with more numbers than are needed."""

import random
import re
from collections.abc import Mapping
from typing import Any

from phidelity.problems.topic import Sketch, between, listed, one_of, part, people, pick, topic

_COLUMNS = (("apples", "pears", "plums"), ("bread", "rolls", "cakes"), ("roses", "tulips", "lilies"),
            ("pens", "books", "maps"), ("cups", "plates", "bowls"), ("shirts", "hats", "socks"))  # fmt: skip
_WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def table(rng: random.Random, held: bool, *, n_rows: int = 4, largest: int = 60) -> Sketch:
    """A table of sales: a total by row or column, or the row with the most of something."""
    columns = one_of(rng, part(_COLUMNS, held))
    days = list(_WEEK[:n_rows])
    cells = [[pick(rng, 2, largest, held) for _ in columns] for _ in days]
    kind = one_of(rng, ("column", "row", "most"))
    r, c = between(rng, 0, n_rows - 1), between(rng, 0, 2)
    if kind == "most" and sorted(row[c] for row in cells)[-2] == max(row[c] for row in cells):
        kind = "column"
    column = [row[c] for row in cells]
    if kind == "most":
        answer = days[column.index(max(column))]
        steps = (
            f"Read the column {columns[c]}: {', '.join(f'{day} {cell}' for day, cell in zip(days, column, strict=True))}.",
            f"The largest of these numbers is {max(column)}, on {answer}.",
        )
    else:
        chosen = column if kind == "column" else cells[r]
        answer = str(sum(chosen))
        where = f"column {columns[c]}" if kind == "column" else f"row {days[r]}"
        steps = (f"Read the {where}: {listed([str(cell) for cell in chosen])}.",
                 f"Add them: {' + '.join(map(str, chosen))} = {answer}.")  # fmt: skip
    header = f"| day | {' | '.join(columns)} |\n|---|---|---|---|"
    rows = "\n".join(f"| {day} | {' | '.join(map(str, row))} |" for day, row in zip(days, cells, strict=True))
    text = f"{header}\n{rows}"
    slots = {"t": text, "d": days[r], "w": columns[c], "n": people(rng, 1)[0]}
    return Sketch(kind, slots, steps, answer, {"kind": kind, "table": text, "asked": (days[r], columns[c])})


def _table(meta: Mapping[str, Any]) -> str:
    head, _, *lines = [line.strip("| ").split(" | ") for line in meta["table"].split("\n")]
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    day, ware = meta["asked"]
    if meta["kind"] == "most":
        return max(rows, key=lambda row: int(row[ware]))["day"]
    if meta["kind"] == "column":
        return str(sum(int(row[ware]) for row in rows))
    return str(sum(int(cell) for row in rows if row["day"] == day for name, cell in row.items() if name != "day"))


TABLE = topic(
    "table", "tables", "Reading tables", draw=table, solve=_table, checker="text",
    lesson=(
        "In a table every number has a row and a column. First find the row or column that the question names, read only "
        "its numbers, and leave the rest of the table alone.",
        "A total of a column adds the numbers below its heading; a total of a row adds the numbers to the right of its "
        "name. For the most of something, compare the numbers of one column and then read the name of the row.",
    ),
    wordings="""
column | A shop counts its sales.\\n{t}\\nHow many {w} did it sell in all?
column | {t}\\nThe table shows what was sold on each day. How many {w} are that together?
column ! {n} keeps this table of sales.\\n{t}\\nWhat is the total of {w} over all days?
row | A shop counts its sales.\\n{t}\\nHow many things did it sell on {d}?
row | {t}\\nThe table shows what was sold on each day. What is the total for {d}?
row ! {n} keeps this table of sales.\\n{t}\\nAdd up everything that was sold on {d}. How many things is that?
most | A shop counts its sales.\\n{t}\\nOn which day did it sell the most {w}?
most | {t}\\nThe table shows what was sold on each day. Which day has the highest number of {w}?
most ! {n} keeps this table of sales.\\n{t}\\nName the day with the largest sale of {w}.
""",
)  # fmt: skip

_STORIES = ("library", "museum", "zoo", "theatre", "pool", "castle", "aquarium", "market", "garden show", "lighthouse")


def story(rng: random.Random, held: bool, *, largest: int = 80) -> Sketch:
    """A short report with more numbers than the question needs."""
    place = one_of(rng, part(_STORIES, held))
    a, b, c = pick(rng, 12, largest, held), pick(rng, 12, largest, held), pick(rng, 5, largest, held)
    guides, price = pick(rng, 3, 11, held), between(rng, 2, 9)
    kind = one_of(rng, ("visitors", "more", "income", "groups"))
    if kind == "more" and a == b:
        b += 1
    more, fewer = max(a, b), min(a, b)
    if kind == "visitors":
        value = a + b
        steps = (
            f"The visitors came in two parts: {a} in the morning and {b} in the afternoon.",
            f"{a} + {b} = {value}.",
        )
    elif kind == "more":
        value = more - fewer
        steps = (f"Compare morning and afternoon: {a} and {b} visitors.",
                 f"The difference is {more} - {fewer} = {value}.")  # fmt: skip
    elif kind == "income":
        value = (a + b) * price
        steps = (f"All visitors together are {a} + {b} = {a + b}.",
                 f"Each paid {price} euros: {a + b} * {price} = {value} euros.")  # fmt: skip
    else:
        value = a + b - c
        steps = (f"All visitors together are {a} + {b} = {a + b}.", f"{c} of them were children, so the others are "
                 f"{a + b} - {c} = {value}.")  # fmt: skip
        if c > a + b:
            return story(rng, held, largest=largest)
    opened = between(rng, 8, 10)
    text = (
        f"The {place} opened at {opened} o'clock. In the morning {a} visitors came, and in the afternoon {b}. "
        f"{c} of the visitors were children. A ticket cost {price} euros for everyone, and {guides} guides were at work."
    )
    text2 = (f"{guides} guides worked in the {place} that day, and tickets were {price} euros each, without exception. "
             f"Between {opened} o'clock and noon, {a} people visited it; {b} more followed after noon. Among all of them "
             f"there were {c} children.")  # fmt: skip
    slots = {"s": text, "s2": text2, "p": place, "n": people(rng, 1)[0]}
    return Sketch(kind, slots, steps, str(value), {"kind": kind, "text": text})


def _story(meta: Mapping[str, Any]) -> str:
    """From the text itself: the numbers are told apart by the words around them."""
    text = meta["text"]
    said = {name: int(re.search(pattern, text)[1]) for name, pattern in _SAID.items()}  # pyright: ignore[reportOptionalSubscript]
    both = said["morning"] + said["afternoon"]
    found = {"visitors": both, "more": abs(said["morning"] - said["afternoon"]), "income": both * said["price"],
             "groups": both - said["children"]}  # fmt: skip
    return str(found[meta["kind"]])


_SAID = {"morning": r"(\d+) visitors came", "afternoon": r"in the afternoon (\d+)", "children": r"(\d+) of the visitors",
         "price": r"cost (\d+)"}  # fmt: skip
STORY = topic(
    "story", "reading", "Reading reports with numbers", draw=story, solve=_story,
    lesson=(
        "A report often holds more numbers than a question needs. Read the question first, then look in the text for just "
        "the numbers that belong to it, and note what each of them counts.",
        "Numbers in a text are useless without their words. Before you calculate, write down for each number what it "
        "means: visitors in the morning, children, euros per ticket. Then the calculation is usually short.",
    ),
    wordings="""
visitors | {s} How many visitors came that day?
visitors | Read the report. {s} What is the number of all visitors?
visitors ! {s2} How many people came in the course of the day?
more | {s} What is the difference between the visitors of the morning and those of the afternoon?
more | Read the report. {s} By how many did the visitors of morning and afternoon differ?
more ! {s2} How far apart are the numbers of people before and after noon?
income | {s} How many euros did the {p} take in with tickets?
income | Read the report. {s} How many euros did all visitors pay together?
income ! {s2} How many euros came in from tickets?
groups | {s} How many of the visitors were not children?
groups | Read the report. {s} How many adults came?
groups ! {s2} How many of those who came were grown up?
""",
)  # fmt: skip

READING = (TABLE, STORY)
