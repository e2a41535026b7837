"""Clock times and dates."""

import calendar
import random
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from phidelity.problems.topic import Sketch, between, one_of, people, pick, topic


def clock(rng: random.Random, held: bool, *, longest: int = 300) -> Sketch:
    """When something ends, how long it lasts, or when it began."""
    length, begin = pick(rng, 35, longest, held), 60 * between(rng, 6, 17) + 5 * between(rng, 0, 11)
    end = begin + length
    kind = one_of(rng, ("end", "length", "begin"))
    hours, minutes = divmod(length, 60)
    span = " and ".join(
        f"{count} {unit if count > 1 else unit[:-1]}"
        for count, unit in ((hours, "hours"), (minutes, "minutes"))
        if count
    )
    a, b = _time(begin), _time(end)
    if kind == "length":
        full = (60 - begin % 60) % 60
        to_hour = f"From {a} to {_time(begin + full)} it is {full} minutes. " if full and begin + full <= end else ""
        later = begin + full if full and begin + full <= end else begin
        steps = (
            f"{to_hour}From {_time(later)} to {b} it is {end - later} minutes.",
            f"Together that is {length} minutes." if to_hour else f"So it lasts {length} minutes.",
        )
        answer, given = str(length), (a, b)
    else:
        sign, word, first, answer = (1, "on", a, b) if kind == "end" else (-1, "back", b, a)
        start = begin if kind == "end" else end
        steps = (f"{length} minutes are {span}." if hours else f"{length} minutes are less than an hour.",)
        if hours and minutes:
            steps = (
                *steps,
                f"{hours} {'hours' if hours > 1 else 'hour'} {word} from {first} is {_time(start + sign * 60 * hours)}.",
            )
            steps = (*steps, f"{minutes} {'minutes' if minutes > 1 else 'minute'} {word} from there is {answer}.")
        else:
            steps = (*steps, f"{span} {word} from {first} is {answer}.")
        given = (first, length)
    slots = {"a": a, "b": b, "l": length, "n": people(rng, 1)[0], "w": one_of(rng, _EVENTS)}
    return Sketch(kind, slots, steps, answer, {"kind": kind, "n": given})


def _time(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def _clock(meta: Mapping[str, Any]) -> str:
    first, second = meta["n"]
    begin = datetime.strptime(first, "%H:%M")
    if meta["kind"] == "length":
        return str(int((datetime.strptime(second, "%H:%M") - begin).total_seconds() // 60))
    at = begin + timedelta(minutes=second if meta["kind"] == "end" else -second)
    return f"{at.hour}:{at.minute:02}"


_EVENTS = ("film", "concert", "match", "lesson", "flight", "meeting", "play", "hike")
CLOCK = topic(
    "clock", "units and dates", "Clock times", draw=clock, solve=_clock, checker="text",
    lesson=(
        "An hour has 60 minutes, not 100, so times cannot be added like ordinary numbers. Split a duration into full "
        "hours and minutes, move by the hours first, then by the minutes.",
        "To find how long something lasts, go first from the beginning to the next full hour, then on to the end, and "
        "add the two stretches.",
    ),
    wordings="""
end | A {w} begins at {a} and lasts {l} minutes. When does it end?
end | {n} leaves at {a} and arrives {l} minutes later. At what time does {n} arrive?
end | It is {a}. What time will it be in {l} minutes?
end ! If a {w} of {l} minutes starts at {a}, at what time is it over?
length | A {w} begins at {a} and ends at {b}. How many minutes does it last?
length | {n} leaves at {a} and arrives at {b}. How many minutes is {n} on the way?
length | How many minutes pass between {a} and {b} on the same day?
length ! Starting at {a}, a {w} is over at {b}. What is its length in minutes?
begin | A {w} of {l} minutes ends at {b}. When did it begin?
begin | {n} arrives at {b} after a journey of {l} minutes. At what time did {n} leave?
begin | It is {b}. What time was it {l} minutes ago?
begin ! At what time must a {w} start if it takes {l} minutes and has to be over at {b}?
""",
)  # fmt: skip

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = tuple(calendar.month_name)[1:]


def dates(rng: random.Random, held: bool, *, furthest: int = 120) -> Sketch:
    """The day of the week after some days, the date after some days, or the days between two dates."""
    count, kind = pick(rng, 9, furthest, held), one_of(rng, ("weekday", "date", "between"))
    n = people(rng, 1)[0]
    if kind == "weekday":
        place, back = between(rng, 0, 6), rng.random() < 0.3
        weeks, rest = divmod(count, 7)
        answer = _DAYS[(place - rest if back else place + rest) % 7]
        whole = f"{weeks} {'weeks' if weeks > 1 else 'week'}"
        move = f"{_days(rest)} {'before' if back else 'after'} {_DAYS[place]} is {answer}."
        steps = (
            f"After every 7 days the same day of the week returns: {count} = {weeks} * 7 + {rest}, "
            f"which is {whole}{f' and {_days(rest)}' if rest else ''}.",
            move if rest else f"So it is {answer} again.",
        )
        when = "ago" if back else "from now"
        slots = {"d": _DAYS[place], "k": count, "when": when, "be": "was it" if back else "will it be", "n": n}
        return Sketch(kind, slots, steps, answer, {"kind": kind, "n": (_DAYS[place], -count if back else count)})
    month, day = between(rng, 0, 7), between(rng, 1, 27)
    steps, left, at, on = [], count, month, day
    while on + left > _LENGTHS[at]:
        used = _LENGTHS[at] - on
        left -= used + 1
        steps.append(
            f"{_MONTHS[at]} has {_LENGTHS[at]} days; {_days(used + 1)} lead to {_MONTHS[at + 1]} 1, and {left} remain."
        )
        at, on = at + 1, 1
    if left:
        steps.append(f"From {_MONTHS[at]} {on}, {_days(left)} lead to {_MONTHS[at]} {on + left}.")
    first, last = f"{_MONTHS[month]} {day}", f"{_MONTHS[at]} {on + left}"
    slots = {"a": first, "b": last, "k": count, "n": n}
    if kind == "date":
        return Sketch(kind, slots, tuple(steps), last, {"kind": kind, "n": (first, count)})
    return Sketch(kind, slots, (_stretches(month, day, at, on + left),), str(count), {"kind": kind, "n": (first, last)})


_LENGTHS = tuple(calendar.monthrange(2023, month)[1] for month in range(1, 13))


def _days(count: int) -> str:
    return f"{count} {'day' if count == 1 else 'days'}"


def _stretches(month: int, day: int, end: int, last: int) -> str:
    """The days from one date to a later one, month by month."""
    if month == end:
        return f"Both dates lie in {_MONTHS[month]}: {last} - {day} = {last - day} days."
    parts = [_LENGTHS[month] - day, *_LENGTHS[month + 1 : end], last]
    told = [f"{_days(parts[0])} {'is' if parts[0] == 1 else 'are'} left in {_MONTHS[month]} after day {day}"]
    told += [f"{_MONTHS[between]} has {_LENGTHS[between]}" for between in range(month + 1, end)]
    told.append(f"{last} lie in {_MONTHS[end]}")
    return f"{'; '.join(told)}. Together: {' + '.join(map(str, parts))} = {sum(parts)} days."


def _dates(meta: Mapping[str, Any]) -> str:
    first, second = meta["n"]
    if meta["kind"] == "weekday":
        monday = date(2024, 1, 1)
        start = next(day for day in range(7) if f"{monday + timedelta(day):%A}" == first)
        return f"{monday + timedelta(start + second):%A}"
    begin = _date(first)
    if meta["kind"] == "between":
        return str((_date(second) - begin).days)
    end = begin + timedelta(second)
    return f"{_MONTHS[end.month - 1]} {end.day}"


def _date(text: str) -> date:
    month, day = text.split()
    return date(2023, _MONTHS.index(month) + 1, int(day))


DATES = topic(
    "dates", "units and dates", "Days and dates", draw=dates, solve=_dates, checker="text",
    lesson=(
        "The days of the week repeat every seven days, so only the remainder after division by 7 matters: 30 days from a "
        "Monday are four weeks and two days, which is a Wednesday.",
        "Months have different lengths: 31 days in January, March, May, July, August, October and December, 30 in April, "
        "June, September and November, and 28 in February, or 29 in a leap year. To count across months, go to the first "
        "day of the next month, step by step.",
    ),
    wordings="""
weekday | Today is {d}. Which day of the week {be} {k} days {when}?
weekday | If it is {d} now, what day of the week {be} {k} days {when}?
weekday | {n} looks at the calendar: it is {d}. Which weekday {be} {k} days {when}?
weekday ! On a {d}, {n} asks: which day of the week {be} exactly {k} days {when}?
date | In a year that is no leap year, which date is {k} days after {a}?
date | {n} plants seeds on {a} and harvests {k} days later, in a year that is no leap year. On which date is the harvest?
date | Count {k} days on from {a} (February has 28 days). Which date do you reach?
date ! A ship sails on {a} and returns after {k} days, February having 28 days. What is the date of its return?
between | How many days lie from {a} to {b} in a year that is no leap year?
between | {n} leaves on {a} and comes back on {b} of the same year, which is no leap year. How many days later is that?
between | February having 28 days, how many days after {a} is {b}?
between ! A shop closes on {a} and opens again on {b}; the year is no leap year. After how many days does it open?
""",
)  # fmt: skip

CALENDAR = (CLOCK, DATES)
