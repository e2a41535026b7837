"""A small text environment: rooms with doors, things to carry, a chest to unlock; deterministic and always solvable.

The goal is to bring the treasure from the locked chest back to the hall. `solve` finds a shortest way by search, so a
trajectory can be told from a lucky one, and every drawn house has a way.
"""

import random
from collections import deque
from dataclasses import dataclass, field, replace

_ROOMS = ("kitchen", "library", "cellar", "garden", "attic", "workshop", "stable", "pantry")
_TREASURES = ("silver cup", "old map", "gold ring", "blue vase", "brass clock")


@dataclass(frozen=True, slots=True)
class State:
    """Where the agent is, what it carries, and whether the chest is open."""

    room: str = "hall"
    has_key: bool = False
    is_open: bool = False
    has_treasure: bool = False
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class House:
    """The fixed part: doors between rooms, where key and chest are, and what is in the chest."""

    doors: dict[str, tuple[str, ...]] = field(hash=False)
    key: str
    chest: str
    treasure: str

    @property
    def goal(self) -> str:
        """What the agent is told."""
        return f"Bring the {self.treasure} to the hall and put it down. It is in a locked chest; a key is in the house."

    def look(self, state: State) -> str:
        """What is seen from where the agent stands."""
        seen = [f"You are in the {state.room}. Doors lead to: {', '.join(self.doors[state.room])}."]
        if state.room == self.key and not state.has_key:
            seen.append("A key lies here.")
        if state.room == self.chest:
            inside = "It is empty." if state.has_treasure else f"The {self.treasure} is in it."
            seen.append(f"A chest stands here. {inside if state.is_open else 'It is locked.'}")
        carried = [
            name for name, has in (("a key", state.has_key), (f"the {self.treasure}", state.has_treasure)) if has
        ]
        return " ".join((*seen, f"You carry {' and '.join(carried) or 'nothing'}."))

    def step(self, state: State, action: str) -> tuple[State, str]:
        """The state after an action and what is observed; what cannot be done changes nothing and says so."""
        verb, _, rest = " ".join(action.lower().strip(" .").split()).partition(" ")
        after = state
        if verb == "go" and rest in self.doors[state.room]:
            after = replace(state, room=rest)
        elif (verb, rest) == ("take", "key") and state.room == self.key and not state.has_key:
            after = replace(state, has_key=True)
        elif (verb, rest) == ("unlock", "chest") and state.room == self.chest and state.has_key and not state.is_open:
            after = replace(state, is_open=True)
        elif verb == "take" and rest == self.treasure and state.room == self.chest and state.is_open:
            after = replace(state, has_treasure=True)
        elif verb == "drop" and rest == self.treasure and state.has_treasure and state.room == "hall":
            return replace(state, is_done=True), f"The {self.treasure} is in the hall. You have done it."
        if after == state and verb != "look":
            return state, f"That cannot be done here. {self.look(state)}"
        return after, self.look(after)

    def actions(self, state: State) -> list[str]:
        """Actions that might change something."""
        things = ["take key", "unlock chest", f"take {self.treasure}", f"drop {self.treasure}"]
        return things + [f"go {room}" for room in self.doors[state.room]]

    def solve(self, start: State | None = None) -> list[str]:
        """A shortest list of actions to the goal."""
        begin = start or State()
        ways: dict[State, list[str]] = {begin: []}
        queue = deque([begin])
        while queue:
            state = queue.popleft()
            if state.is_done:
                return ways[state]
            for action in self.actions(state):
                after, _ = self.step(state, action)
                if after not in ways:
                    ways[after] = [*ways[state], action]
                    queue.append(after)
        raise AssertionError("a house without a way to its goal")


def draw(rng: random.Random) -> House:
    """A house of four to six rooms in a tree of doors, with one further door."""
    rooms = ["hall", *rng.sample(_ROOMS, rng.randint(3, 5))]
    doors: dict[str, set[str]] = {room: set() for room in rooms}
    pairs = [(rooms[n], rng.choice(rooms[:n])) for n in range(1, len(rooms))]
    for a, b in [*pairs, tuple(rng.sample(rooms, 2))]:
        doors[a].add(b)
        doors[b].add(a)
    key, chest = rng.sample(rooms[1:], 2)
    return House({room: tuple(sorted(others)) for room, others in doors.items()}, key, chest, rng.choice(_TREASURES))
