"""Graphs: the shortest way, and what can be reached."""

import itertools
import random
from collections.abc import Mapping
from typing import Any

from phidelity.problems.topic import Sketch, between, listed, one_of, people, pick, topic

_TOWNS = ("Ashby", "Birkholm", "Calder", "Dunmore", "Elmsted", "Farrow", "Gorsey", "Hartley", "Inverra", "Kelby",
          "Lindale", "Marsden", "Norley", "Oakham", "Penrow", "Quarley")  # fmt: skip


_ROADS = ((0, 1), (1, 4), (0, 2), (2, 3), (3, 4), (1, 3))
"""Five towns: from the first to the last by the second or by two others, with a road across."""
_WAYS = ((0, 1, 4), (0, 1, 3, 4), (0, 2, 3, 4), (0, 2, 3, 1, 4))
"""All ways from the first to the last that visit no town twice."""


def shortest_way(rng: random.Random, held: bool, *, longest_road: int = 30) -> Sketch:
    """The length of the shortest way in a small net of roads."""
    towns = rng.sample(_TOWNS, 5)
    start, goal = towns[0], towns[4]
    roads = {(towns[x], towns[y]): pick(rng, 2, longest_road, held) for x, y in _ROADS}
    ways = [[towns[place] for place in way] for way in _WAYS]
    lengths = [[_length(roads, a, b) for a, b in itertools.pairwise(way)] for way in ways]
    steps = tuple(
        f"{'-'.join(way)}: {' + '.join(map(str, parts))} = {sum(parts)}."
        for way, parts in zip(ways, lengths, strict=True)
    )
    best = min(map(sum, lengths))
    told = list(roads.items())
    rng.shuffle(told)
    slots = {"a": start, "b": goal, "r": ", ".join(f"{x}-{y} {km} km" for (x, y), km in told), "n": people(rng, 1)[0],
             "r2": "; ".join(f"{km} km between {x} and {y}" for (x, y), km in told)}  # fmt: skip
    steps = (f"Go through all ways from {start} to {goal} that visit no town twice.", *steps,
             f"The shortest of them measures {best} km.")  # fmt: skip
    return Sketch("way", slots, steps, str(best), {"roads": told, "from": start, "to": goal})


def _length(roads: dict[tuple[str, str], int], a: str, b: str) -> int:
    return roads[a, b] if (a, b) in roads else roads[b, a]


def _shortest(meta: Mapping[str, Any]) -> str:
    far = {town: 10**9 for (x, y), _ in meta["roads"] for town in (x, y)} | {meta["from"]: 0}
    for _ in far:
        for (x, y), km in meta["roads"]:
            far[x], far[y] = min(far[x], far[y] + km), min(far[y], far[x] + km)
    return str(far[meta["to"]])


SHORTEST_WAY = topic(
    "shortest_way", "graphs", "The shortest way", draw=shortest_way, solve=_shortest,
    lesson=(
        "Towns and roads form a graph: the towns are its points, the roads its edges, each with a length. In a small "
        "graph the shortest way can be found by writing down all ways and comparing their lengths.",
        "The way with the fewest roads need not be the shortest one. What counts is the sum of the lengths, so a detour "
        "over two short roads can beat one long road.",
    ),
    wordings="""
way | Roads: {r}. How many kilometres is the shortest way from {a} to {b}?
way | These roads join five towns: {r}. Find the length in km of the shortest way from {a} to {b}.
way | {n} wants to go from {a} to {b} on the roads {r}. How many kilometres is it at least?
way | On a map one reads {r}. What is the smallest distance by road from {a} to {b}, in km?
way ! There are {r2}. At least how many kilometres must one drive from {a} to reach {b}?
way ! To get from {a} to {b}, {n} may use these roads: {r2}. What is the length of the best way, in km?
""",
)  # fmt: skip


def reachable(rng: random.Random, held: bool, *, largest_part: int = 7) -> Sketch:
    """How many can be reached from one point over any number of links."""
    names = rng.sample(_TOWNS, 8)
    links: list[tuple[str, str]] = []
    size = pick(rng, 3, largest_part, held)
    inside, outside = names[:size], names[size:]
    for place in range(1, size):
        links.append((inside[between(rng, 0, place - 1)], inside[place]))
    links += [(a, b) for a, b in itertools.pairwise(outside)][: 1 + int(rng.random() * 3)]
    start, told = one_of(rng, inside), [link if rng.random() < 0.5 else link[::-1] for link in links]
    rng.shuffle(told)
    found, waves, edge = {start}, [], [start]
    while edge:
        new = sorted({b for a, b in (*told, *(link[::-1] for link in told)) if a in edge and b not in found})
        if new:
            waves.append(new)
        found.update(new)
        edge = new
    steps = (
        f"Directly from {start} one reaches {listed(waves[0])}.",
        *(f"From there one comes to {listed(wave)}." for wave in waves[1:]),
        f"Nothing new follows. Apart from {start} that makes {' + '.join(str(len(wave)) for wave in waves)}"
        f"{f' = {len(found) - 1}' if len(waves) > 1 else ''}.",
    )
    slots = {"a": start, "r": ", ".join(f"{x}-{y}" for x, y in told), "n": people(rng, 1)[0],
             "r2": ", ".join(f"{x} and {y}" for x, y in told)}  # fmt: skip
    return Sketch("reach", slots, steps, str(len(found) - 1), {"links": told, "from": start})


def _reachable(meta: Mapping[str, Any]) -> str:
    group = {name: name for link in meta["links"] for name in link}
    for x, y in meta["links"]:
        old, new = group[y], group[x]
        group = {name: new if of == old else of for name, of in group.items()}
    return str(sum(of == group[meta["from"]] for of in group.values()) - 1)


REACHABLE = topic(
    "reachable", "graphs", "What can be reached", draw=reachable, solve=_reachable,
    lesson=(
        "To find all points that can be reached in a graph, go outwards in waves: first the neighbours of the start, then "
        "their neighbours, and so on, never counting a point twice. When a wave brings nothing new, you are done.",
        "A graph may fall into parts that are not joined. From a point one reaches its own part and nothing else, however "
        "long one travels.",
    ),
    wordings="""
reach | Ferries connect these places in both directions: {r}. How many other places can one reach from {a}?
reach | The railway has the lines {r}. To how many other towns can {n} travel from {a}, changing as often as needed?
reach | These towns are joined by roads: {r}. How many towns besides {a} can be reached from {a}?
reach | Messages run both ways along {r}. How many other places can a message from {a} come to?
reach ! There are paths between {r2}, and no others. Starting in {a}, at how many further places can {n} arrive?
reach ! Flights go both ways between {r2}. How many different destinations does {a} have if changing is allowed?
""",
)  # fmt: skip

GRAPHS = (SHORTEST_WAY, REACHABLE)
