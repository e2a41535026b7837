"""Geometry: rectangles, right triangles, angles, boxes."""

import math
import random
from collections.abc import Mapping
from typing import Any

from phidelity.problems.topic import Sketch, between, one_of, part, people, pick, product, topic


def rectangle(rng: random.Random, held: bool, *, largest_side: int = 40) -> Sketch:
    """Area, perimeter, or a side from the area and the other side."""
    a, b = pick(rng, 3, largest_side, held), between(rng, 2, largest_side)
    kind = one_of(rng, ("area", "perimeter", "side"))
    n = people(rng, 1)[0]
    if kind == "area":
        value = a * b
        steps = (
            "The area of a rectangle is its length times its width.",
            f"{product(a, b)}, so the area is {value}.",
        )
    elif kind == "perimeter":
        value = 2 * (a + b)
        steps = (
            f"Length and width together are {a} + {b} = {a + b}.",
            f"Each of them occurs twice around the rectangle: 2 * {a + b} = {value}.",
        )
    else:
        value = a
        steps = (
            "The area is the length times the width, so the length is the area divided by the width.",
            f"{a * b} / {b} = {a}. Check: {product(a, b)}.",
        )
    slots = {"a": a, "b": b, "s": a * b, "n": n}
    return Sketch(kind, slots, steps, str(value), {"kind": kind, "n": (a * b, b) if kind == "side" else (a, b)})


def _rectangle(meta: Mapping[str, Any]) -> str:
    a, b = meta["n"]
    if meta["kind"] == "area":
        return str(sum(a for _ in range(b)))
    if meta["kind"] == "perimeter":
        return str(a + b + a + b)
    return str(next(length for length in range(1, a + 1) if length * b == a))


RECTANGLE = topic(
    "rectangle", "geometry", "Rectangles", draw=rectangle, solve=_rectangle,
    lesson=(
        "A rectangle that is 5 metres long and 3 metres wide can be covered by 3 rows of 5 unit squares: its area is "
        "15 square metres. Its perimeter is the way around it: two lengths and two widths.",
        "Area tells how much surface there is, perimeter how long the border is. Carpet is bought by area, fence by "
        "perimeter. If the area and one side are known, division gives the other side.",
    ),
    wordings="""
area | A rectangle is {a} m long and {b} m wide. What is its area in square metres?
area | {n} lays a carpet in a room of {a} by {b} metres. How many square metres of carpet are needed?
area | A rectangular field measures {a} m by {b} m. How many square metres does it cover?
area | The sides of a rectangular wall are {a} m and {b} m. How many square metres must {n} paint?
area ! How many square metres of lawn fit into a rectangular park with sides of {a} m and {b} m?
area ! Find the area, in square metres, of a rectangle whose sides measure {a} m and {b} m.
perimeter | A rectangle is {a} m long and {b} m wide. What is its perimeter in metres?
perimeter | {n} puts a fence around a garden of {a} by {b} metres. How many metres of fence are needed?
perimeter | {n} walks once around a rectangular square of {a} m by {b} m. How many metres is the walk?
perimeter ! A picture measures {a} by {b} centimetres. How many centimetres of frame go around it?
perimeter ! How far is it, in metres, around a rectangular pond with sides of {a} m and {b} m?
side | A rectangle has an area of {s} square metres and is {b} m wide. How many metres long is it?
side | {n} has {s} square tiles and lays them in {b} equal rows. How many tiles are in a row?
side | A room of {s} square metres is {b} m wide. What is its length in metres?
side ! The floor of a hall covers {s} square metres and one side is {b} m. How many metres is the other side?
side ! Dividing a rectangle into {b} strips, each 1 m wide, uses up its area of {s} square metres. How long is a strip, in metres?
""",
)  # fmt: skip

_TRIPLES = tuple(
    (a, b, c) for a in range(3, 60) for b in range(a + 1, 80) if (c := math.isqrt(a * a + b * b)) ** 2 == a * a + b * b
)


def triangle(rng: random.Random, held: bool) -> Sketch:
    """The third side of a right triangle with whole sides."""
    a, b, c = one_of(rng, _TRAIN_TRIPLES if not held else _HELD_TRIPLES)
    if rng.random() < 0.5:
        a, b = b, a
    kind = one_of(rng, ("long", "short"))
    n = people(rng, 1)[0]
    if kind == "long":
        steps = (
            "In a right triangle the square over the longest side equals the squares over the other two together.",
            f"{a}^2 + {b}^2 = {a * a} + {b * b} = {c * c}.",
            f"The side is the number whose square is {c * c}: {c} * {c} = {c * c}, so it is {c}.",
        )
        return Sketch(kind, {"a": a, "b": b, "n": n}, steps, str(c), {"kind": kind, "n": (a, b)})
    steps = (
        "In a right triangle the square over the longest side equals the squares over the other two together.",
        f"So the missing square is {c}^2 - {a}^2 = {c * c} - {a * a} = {b * b}.",
        f"The side is the number whose square is {b * b}: {b} * {b} = {b * b}, so it is {b}.",
    )
    return Sketch(kind, {"a": a, "c": c, "n": n}, steps, str(b), {"kind": kind, "n": (a, c)})


def _triangle(meta: Mapping[str, Any]) -> str:
    a, b = meta["n"]
    return str(round(math.hypot(a, b)) if meta["kind"] == "long" else round(math.sqrt((b - a) * (b + a))))


_TRAIN_TRIPLES, _HELD_TRIPLES = part(_TRIPLES, held=False), part(_TRIPLES, held=True)
TRIANGLE = topic(
    "triangle", "geometry", "Right triangles", draw=triangle, solve=_triangle,
    lesson=(
        "The theorem of Pythagoras joins the three sides of a right triangle: a^2 + b^2 = c^2, where c is the side "
        "opposite the right angle, which is always the longest.",
        "Draw a square on each side of a right triangle. The two smaller squares together have exactly the area of "
        "the largest. With sides 3 and 4 the squares are 9 and 16, together 25, so the longest side is 5.",
    ),
    wordings="""
long | The two short sides of a right triangle are {a} cm and {b} cm. How many centimetres is the longest side?
long | {n} walks {a} m east and then {b} m north. How many metres from the start is {n}, in a straight line?
long | A rectangle has sides of {a} cm and {b} cm. How many centimetres is its diagonal?
long | What is the hypotenuse of a right triangle with legs {a} and {b}?
long ! A ramp rises {a} dm over a level distance of {b} dm. How many decimetres long is the ramp itself?
long ! Two sides that meet in a right angle measure {a} and {b}. How long is the side that joins their ends?
short | The longest side of a right triangle is {c} cm and another side is {a} cm. How many centimetres is the third side?
short | A ladder of {c} dm leans on a wall, its foot {a} dm from the wall. How many decimetres up does it reach?
short | In a right triangle the hypotenuse is {c} and one leg is {a}. How long is the other leg?
short ! A kite on a string of {c} m hangs above a point {a} m away. How many metres high is it, the string being straight?
short ! The diagonal of a rectangle is {c} and one of its sides is {a}. How long is the other side?
""",
)  # fmt: skip


def angles(rng: random.Random, held: bool, *, smallest: int = 20) -> Sketch:
    """The missing angle of a triangle or a quadrilateral, or one of two equal angles."""
    kind = one_of(rng, ("third", "fourth", "equal"))
    a, b = pick(rng, smallest, 75, held), between(rng, smallest, 75)
    if kind == "third":
        value, slots = 180 - a - b, {"a": a, "b": b}
        steps = (
            f"The angles of a triangle add up to 180 degrees. Two of them are {a} + {b} = {a + b} degrees together.",
            f"The third is 180 - {a + b} = {value} degrees.",
        )
    elif kind == "fourth":
        a, b, c = a + 30, b + 30, between(rng, 60, 110)
        value, slots = 360 - a - b - c, {"a": a, "b": b, "c": c}
        steps = (
            f"The angles of a quadrilateral add up to 360 degrees. Three of them are {a} + {b} + {c} = {a + b + c}.",
            f"The fourth is 360 - {a + b + c} = {value} degrees.",
        )
    else:
        a = 2 * a
        value, slots = (180 - a) // 2, {"a": a}
        steps = (
            f"The angles of a triangle add up to 180 degrees, so the two equal ones are 180 - {a} = {180 - a} together.",
            f"Each of them is {180 - a} / 2 = {value} degrees.",
        )
    return Sketch(kind, slots, steps, str(value), {"kind": kind, "n": tuple(slots.values())})


def _angles(meta: Mapping[str, Any]) -> str:
    total, known = (360 if meta["kind"] == "fourth" else 180), sum(meta["n"])
    per = 2 if meta["kind"] == "equal" else 1
    return str(next(angle for angle in range(1, 360) if known + per * angle == total))


ANGLES = topic(
    "angles", "geometry", "Angles of triangles and quadrilaterals", draw=angles, solve=_angles,
    lesson=(
        "The three angles of any triangle add up to 180 degrees, a straight line. A quadrilateral can be cut into two "
        "triangles, so its four angles add up to 360 degrees.",
        "Tear off the corners of a paper triangle and put them side by side: they form a straight line. Hence two "
        "angles of a triangle always tell the third.",
    ),
    wordings="""
third | Two angles of a triangle are {a} and {b} degrees. How many degrees is the third?
third | In triangle ABC the angle at A is {a} degrees and the angle at B is {b} degrees. How many degrees is the angle at C?
third | A roof has the shape of a triangle with angles of {a} and {b} degrees at its base. How many degrees is the angle at the top?
third ! What is the last angle, in degrees, of a triangle that has angles of {a} and {b} degrees?
fourth | Three angles of a quadrilateral are {a}, {b} and {c} degrees. How many degrees is the fourth?
fourth | A field with four corners has angles of {a}, {b} and {c} degrees at three of them. How many degrees is the last angle?
fourth ! What is the missing angle, in degrees, of a four-sided figure whose other angles are {a}, {b} and {c} degrees?
equal | A triangle has an angle of {a} degrees, and its other two angles are equal. How many degrees is each of them?
equal | The angle at the top of an isosceles triangle is {a} degrees. How many degrees is each angle at the base?
equal ! Two angles of a triangle are equal and the remaining one measures {a} degrees. How many degrees does one of the equal angles measure?
""",
)  # fmt: skip


def box(rng: random.Random, held: bool, *, largest_side: int = 20) -> Sketch:
    """The volume of a box, its surface, or the depth of water in it."""
    a, b, c = pick(rng, 2, largest_side, held), between(rng, 2, 12), between(rng, 2, 10)
    kind = one_of(rng, ("volume", "surface", "depth"))
    slots = {"a": a, "b": b, "c": c, "v": a * b * c, "n": people(rng, 1)[0]}
    if kind == "volume":
        value, given = a * b * c, (a, b, c)
        steps = (
            f"One layer of unit cubes has {product(a, b)} cubes.",
            f"There are {c} layers: {product(a * b, c)}.",
        )
    elif kind == "surface":
        value, given = 2 * (a * b + a * c + b * c), (a, b, c)
        steps = (
            f"A box has three pairs of equal faces: {a} * {b} = {a * b}, {a} * {c} = {a * c} and {b} * {c} = {b * c}.",
            f"Together they are {a * b} + {a * c} + {b * c} = {value // 2}, and twice that is {value}.",
        )
    else:
        value, given = c, (a, b, a * b * c)
        steps = (
            f"The bottom has an area of {product(a, b)}.",
            f"The volume is the area of the bottom times the depth, so the depth is {a * b * c} / {a * b} = {c}.",
        )
    return Sketch(kind, slots, steps, str(value), {"kind": kind, "n": given})


def _box(meta: Mapping[str, Any]) -> str:
    a, b, c = meta["n"]
    if meta["kind"] == "volume":
        return str(sum(a for _ in range(b) for _ in range(c)))
    if meta["kind"] == "surface":
        return str((a + b) * 2 * c + a * b + b * a)
    return str(next(depth for depth in range(1, c + 1) if a * b * depth == c))


BOX = topic(
    "box", "geometry", "Boxes", draw=box, solve=_box,
    lesson=(
        "The volume of a box is length times width times height. Imagine it filled with unit cubes: length times width "
        "cubes make one layer, and the height says how many layers there are.",
        "The surface of a box consists of six rectangles, two of each kind. Work out one of each, add them, and double "
        "the sum.",
    ),
    wordings="""
volume | A box is {a} cm long, {b} cm wide and {c} cm high. What is its volume in cubic centimetres?
volume | How many cubes with sides of 1 cm fit into a box of {a} by {b} by {c} cm?
volume | {n} fills a trench {a} m long, {b} m wide and {c} m deep. How many cubic metres of earth are needed?
volume ! Find the volume, in cubic centimetres, of a block with edges of {a} cm, {b} cm and {c} cm.
surface | A box is {a} cm long, {b} cm wide and {c} cm high. What is its surface in square centimetres?
surface | {n} paints all six sides of a block of {a} by {b} by {c} cm. How many square centimetres is that?
surface ! How many square centimetres of paper cover a block with edges of {a} cm, {b} cm and {c} cm exactly?
depth | A tank is {a} dm long and {b} dm wide and holds {v} litres of water. How many decimetres deep is the water?
depth | {n} pours {v} cubic centimetres of sand into a box of {a} by {b} cm. How many centimetres high does the sand stand?
depth ! Into a basin with a bottom of {a} dm by {b} dm flow {v} litres. How many decimetres does the water rise?
""",
)  # fmt: skip

GEOMETRY = (RECTANGLE, TRIANGLE, ANGLES, BOX)
