"""What a function does, seen from outside: digests of its values on a fixed set of arguments, taken in the sandbox.

Two functions count as the same when they agree wherever the first gives a value. Arguments are plain values drawn
by the function's own name and parameters, so the comparison is repeatable; the untrusted code meets only itself.
"""

import ast
import builtins
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from phidelity.grading.code import run_program

PROBES = 20
LEAST_VALUES, LEAST_DISTINCT = 5, 3
"""Probes on which the original must give a value, and how many different ones (*ours*): else it says too little."""
LONGEST = 30
"""Lines of a function that is used (*ours*)."""
_POOL: dict[str, tuple[Any, ...]] = {
    "int": (0, 1, 2, 3, 5, 7, 10, 12, 48, -1, -6),
    "float": (0.5, 2.0, -1.5, 9.75),
    "str": ("", "a", "abc", "hello world", "Level", "3, 4", "tree 12", "x-y_z"),
    "list": ([], [1, 2, 3], [5, 3, 9, 3], [-2, 0, 4], ["b", "a", "b"], [2, 8, 6, 4, 10], [[1, 2], [3]]),
    "dict": ({}, {"a": 1, "b": 2}, {"x": [1], "y": 3}),
    "bool": (True, False),
}
_TYPES = ("int", "str", "list", "int", "list", "float", "str", "dict")
_OBSERVE = """
def check(f):
    import hashlib
    seen = []
    for arguments in {probes!r}:
        try:
            seen.append(hashlib.sha256(repr(f(*arguments)).encode()).hexdigest()[:8])
        except Exception:
            seen.append("-")
    raise AssertionError("seen " + " ".join(seen))
"""


class Function(NamedTuple):
    """A function that stands alone, and where it is from."""

    name: str
    head: str
    """Its first line, as `def area(width, height):`."""
    source: str
    kinds: tuple[str, ...]
    """The annotated type of each parameter, empty without one."""


def functions(text: str) -> Iterator[Function]:
    """The functions of a Python text that need nothing from around them; none where it is no Python."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and _stands_alone(node):
            source = ast.get_source_segment(text, node) or ""
            kinds = tuple(getattr(argument.annotation, "id", "") for argument in node.args.args)
            yield Function(node.name, f"def {node.name}({ast.unparse(node.args)}):", source, kinds)


def observe(function: Function, source: str) -> list[str] | None:
    """The digest of each probe's value, `-` for an exception; None where the program does not run to the end."""
    tests = _OBSERVE.format(probes=_probes(function))
    outcome = run_program(source, tests, function.name)
    _, found, told = outcome.explanation.partition("AssertionError: seen ")
    digests = told.split()
    return digests if found and len(digests) == PROBES else None


def agree(first: list[str], second: list[str]) -> bool:
    """Whether the second gives the value of the first wherever that gives one."""
    return all(a == b for a, b in zip(first, second, strict=True) if a != "-")


def says_enough(digests: list[str]) -> bool:
    """Whether there are values enough, and different ones, to tell this function from others."""
    values = [digest for digest in digests if digest != "-"]
    return len(values) >= LEAST_VALUES and len(set(values)) >= LEAST_DISTINCT


def _probes(function: Function) -> list[tuple[Any, ...]]:
    """Arguments of every type in turn, all parameters alike in half of the probes."""
    rng = random.Random(function.head)
    rows = []
    for n in range(PROBES):
        kinds = [_TYPES[n % len(_TYPES)]] * len(function.kinds)
        if n % 2:
            kinds = [rng.choice(_TYPES) for _ in kinds]
        kinds = [told if told in _POOL else kind for told, kind in zip(function.kinds, kinds, strict=True)]
        rows.append(tuple(rng.choice(_POOL[kind]) for kind in kinds))
    return rows


def _stands_alone(node: ast.FunctionDef) -> bool:
    """No decorator, no generator, no name from outside but builtins, one to four plain parameters."""
    plain = node.args
    if node.decorator_list or plain.vararg or plain.kwarg or plain.kwonlyargs or plain.posonlyargs or plain.defaults:
        return False
    if not 1 <= len(plain.args) <= 4 or (node.end_lineno or 0) - node.lineno >= LONGEST:
        return False
    inside = list(ast.walk(node))
    if any(isinstance(one, ast.Yield | ast.YieldFrom | ast.Await | ast.Global | ast.Nonlocal) for one in inside):
        return False
    bound = {one.arg for one in inside if isinstance(one, ast.arg)} | {node.name}
    bound |= {one.id for one in inside if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    bound |= {one.name for one in inside if isinstance(one, ast.FunctionDef | ast.ExceptHandler) and one.name}
    bound |= {
        (a.asname or a.name).split(".")[0]
        for one in inside
        if isinstance(one, ast.Import | ast.ImportFrom)
        for a in one.names
    }
    used = {one.id for one in inside if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
    returns = any(isinstance(one, ast.Return) and one.value is not None for one in inside)
    return returns and used <= bound | set(dir(builtins))
