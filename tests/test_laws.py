"""The laws of the house that no room holds alone (DESIGN: laws). CPU, under two minutes.

Others stand beside what they bind: logits equal transformers' (test_checkpoint), the engine equals the plain
forward and companions change no bit (test_engine), encoding is undone by decoding and chats have the published ids
(test_tokenizer), resuming, accumulation and isolation (test_train), DPO at ln 2 (test_objectives), perfect and
empty answers (test_eval), kept + dropped = read (test_corpus_scale), kill -9 of whole runs and two runs of one seed
(test_kill).
"""

import ast
import re
from pathlib import Path

import pytest

from phidelity.pipeline.recipe import STAGES, find_recipe, load_recipe

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "phidelity"
RECIPES = sorted(path.stem for path in (PACKAGE / "recipes").glob("*.toml"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_parses_and_fits_together(name: str) -> None:
    loaded = load_recipe(name)
    assert loaded.recipe.name == name
    assert find_recipe(name).read_text(encoding="utf-8") == loaded.text


def test_a_stage_has_one_name_in_four_places() -> None:
    from phidelity.cli.main import main
    from phidelity.pipeline.recipe import Recipe

    for stage in STAGES:
        assert stage.function.__name__ == stage.name
        assert (PACKAGE / "pipeline" / f"{stage.name}.py").exists()
        assert stage.name in Recipe.model_fields
        assert stage.name in main.commands


def test_every_file_named_in_the_fidelity_ledger_exists() -> None:
    ledger = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:phidelity|tests|docs)/[\w./-]+)`", ledger))
    assert len(named) > 30
    assert not [path for path in named if not (ROOT / path).exists()]


def test_every_line_of_the_ledger_is_shown_or_listed_as_open() -> None:
    ledger = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    rows = [line.strip().strip("|").split("|") for line in ledger.splitlines() if line.startswith("|")]
    for row in rows:
        if row[0].strip() not in ("claim", "---"):
            assert len(row) == 4, row
            assert row[3].strip(), f"nothing shows, and nothing says open: {row[0]}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_knows_and_public_things_are_documented(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module opens with what it knows"
    if path.name == "__init__.py":
        assert len(tree.body) == 1, "__init__ holds a docstring and nothing else"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert (node.end_lineno or node.lineno) - node.lineno < 200


def test_only_the_command_line_prints() -> None:
    # The GPU benchmarks are commands of their own: they run where the packages behind `phi` are missing.
    allowed = {"terminal.py", "gpu.py"}
    for path in PACKAGE.rglob("*.py"):
        if path.name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_print = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            assert not is_print, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} prints"
