"""Shapes of a reply: the reference solution of a problem as models write it."""

import ast
import re


def signature(problem):
    """The head of the entry function as the prompt shows it, without its docstring."""
    shown, name = problem.meta["code"], problem.meta["entry_point"]
    return re.search(rf"^def {name}\(.*?\n", shown, re.MULTILINE).group()


def helpers(problem):
    """What the prompt shows before the entry function (imports, helpers)."""
    return problem.meta["code"].partition(signature(problem))[0]


def function(problem, first="", note=""):
    """The entry function alone; `first` is put at the start of its body, `note` behind its head."""
    return signature(problem).rstrip("\n") + note + "\n" + first + problem.reference


def fenced(text, tag="python"):
    return f"```{tag}\n{text}\n```"


def two_spaces(problem):
    """The function as Python writes it back, each level of indentation halved."""
    lines = ast.unparse(ast.parse(function(problem))).splitlines()
    return "\n".join(" " * ((len(line) - len(line.lstrip())) // 2) + line.lstrip() for line in lines) + "\n"


HELPER = "def same_thing(x):\n    return x\n"
USE = "    same_thing(0)\n"
SHAPES = {
    "full prompt": lambda p: fenced(p.meta["code"] + p.reference),
    "function only": lambda p: fenced(function(p)),
    "helper after": lambda p: fenced(function(p, USE) + "\n\n" + HELPER),
    "py fence": lambda p: fenced(p.meta["code"] + p.reference, "py"),
    "Python fence": lambda p: fenced(p.meta["code"] + p.reference, "Python"),
    "no fence tag": lambda p: fenced(p.meta["code"] + p.reference, ""),
    "helper before": lambda p: fenced(HELPER + "\n\n" + function(p, USE)),
    "own import": lambda p: fenced("import math as own\n\n\n" + function(p, "    own.pi\n")),
    "comment after signature": lambda p: fenced(function(p, note="  # the answer")),
    "blank after signature": lambda p: fenced(function(p, note="\n")),
    "two spaces": lambda p: fenced(two_spaces(p)),
    "body only": lambda p: fenced(p.reference),
}
PARITY = {"full prompt": 164, "function only": 162, "helper after": 164, "body only": 1}
"""How many of the 164 pass in parity; none in the other shapes."""
