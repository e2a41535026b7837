"""`phi check`: whether a checkpoint is whole and behaves, a line for each question, and exit status 1 if one fails.

The structural questions are asked in checkpoint/check.py. Here the network runs: perplexity, whether an answer ends,
and MMLU beside the published 84.8 (phi-4 report, table 1). Those are verdicts only for a network of phi-4's shape;
of any other they are reported.
"""

import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phidelity import terminal
from phidelity.cli.options import ANY, FILE, json_option
from phidelity.config import UserError
from phidelity.pipeline import status as runs
from phidelity.pipeline.manifest import read_manifest
from phidelity.progress import Progress, readable_size

if TYPE_CHECKING:
    from phidelity.checkpoint.check import Check
    from phidelity.checkpoint.weights import Weights
    from phidelity.engine.llm import LLM

PUBLISHED_MMLU = 84.8
"""Per cent (phi-4 report, table 1)."""
N_MMLU = 200
"""Items asked (*ours*): an interval of about ten points."""

GUESSING = 8.0
"""Bits per byte of a model that knows nothing."""

TEXT = """The ferry left the harbour at seven, while the streets behind it were still grey. Most of the passengers stood
at the rail and watched the lighthouse become smaller, and nobody spoke for a while. A boy asked his father how far it
was to the island. His father said that it was eleven miles, and that a ship which goes eleven miles in an hour would
need an hour, but that theirs was old and would need nearly two.

Water boils at a lower temperature on a mountain, because the air presses less on its surface. A cook who lives two
thousand metres above the sea therefore boils an egg for longer than her sister on the coast. The egg does not care
about the bubbles; it cares about the heat.

To add two fractions, first write them with the same denominator. One half and one third are three sixths and two
sixths, which together make five sixths. Whoever adds the upper numbers and the lower numbers instead gets two fifths,
which is less than the half he began with, and so can see that something went wrong.

def mean(values):
    total = 0
    for value in values:
        total = total + value
    return total / len(values)
"""
"""Written for this check and in the public domain."""


@click.command()
@click.argument("model", type=ANY)
@click.option("--text", type=FILE, help="A text to measure perplexity on, instead of a short one of our own.")
@click.option("--mmlu", type=FILE, help="mmlu.csv as simple-evals reads it: 200 items are asked.")
@json_option
def check(model: Path, text: Path | None, mmlu: Path | None, as_json: bool) -> None:
    """Whether MODEL is whole and behaves: hashes, tensors, ids, template, stops, perplexity, MMLU."""
    found: list[Check] = []
    with terminal.watching(sys.stderr) as progress:
        for one in _checks(model, text, mmlu, progress):
            found.append(one)
            if not as_json:
                verdict = {True: "ok", False: "FAILED", None: "-"}[one.passed]
                click.echo(f"{verdict:<7} {one.name:<11} {one.detail}")
    passed = all(one.passed is not False for one in found)
    if as_json:
        click.echo(json.dumps({"model": str(model), "passed": passed, "checks": [one._asdict() for one in found]}))
    if not passed:
        raise SystemExit(1)


def _checks(model: Path, text: Path | None, mmlu: Path | None, progress: Progress) -> Iterator["Check"]:
    from phidelity.checkpoint import check as whole
    from phidelity.checkpoint.open import open_weights
    from phidelity.model.config import PHI_4

    content = _read(text) if text else TEXT
    problems = _problems(mmlu) if mmlu else []
    try:
        weights = open_weights(runs.resolve_model(model), progress)
    except UserError as error:
        yield whole.Check("opens", False, str(error))
        return
    files = whole.weight_files(weights)
    yield whole.check_hashes(files, whole.announced_hashes(files) | _recorded(files), progress)
    yield whole.check_tensors(weights)
    yield (finite := whole.check_finite(weights, progress))
    yield whole.check_ids(weights.tokenizer)
    yield whole.check_template(weights.tokenizer)
    yield whole.check_stops(weights.tokenizer)
    if not finite.passed:
        return
    if lacking := _lacking_memory(weights):
        yield whole.Check("network", None, lacking)
        return
    from phidelity.engine.llm import open_model

    llm = open_model(Path(weights.source))
    is_phi_4 = weights.config.model_copy(update={"init_std": PHI_4.init_std}) == PHI_4
    for one in _network_checks(llm, content, problems, progress):
        yield one if is_phi_4 else one._replace(passed=None)


def _network_checks(llm: "LLM", text: str, problems: list[Any], progress: Progress) -> Iterator["Check"]:
    """Verdicts as they are for phi-4."""
    yield _perplexity(llm, text)
    yield _answer(llm)
    if problems:
        yield _mmlu(llm, problems, progress)


def _perplexity(llm: "LLM", text: str) -> "Check":
    from phidelity.checkpoint.check import Check
    from phidelity.eval.perplexity import surprise

    ids = llm.tokenizer.encode(text)
    found = surprise(llm, ids, len(text.encode()), llm.context_len)
    told = f"{found.perplexity:.4g} over {found.n_tokens:,} tokens, {found.bits_per_byte:.3f} bits per byte"
    return Check("perplexity", found.bits_per_byte < GUESSING, told)


def _answer(llm: "LLM") -> "Check":
    from phidelity.checkpoint.check import Check
    from phidelity.completion import SamplingParams
    from phidelity.records import Conversation, Message

    question = Message(role="user", content="What is 2 + 2? Answer with one number.")
    params = SamplingParams(temperature=0.0, max_tokens=64)
    (completion,) = llm.complete([Conversation(id="check", messages=(question,))], params)
    is_right = completion.finish_reason == "stop" and "4" in completion.text
    return Check("answer", is_right, f"{question.content} {completion.text!r:.60}, ended by {completion.finish_reason}")


def _mmlu(llm: "LLM", problems: list[Any], progress: Progress) -> "Check":
    from phidelity.checkpoint.check import Check
    from phidelity.completion import SamplingParams
    from phidelity.eval.benchmark import GradingContext, grade, messages
    from phidelity.eval.benchmarks.mmlu import MMLU
    from phidelity.records import Conversation
    from phidelity.statistics import wilson

    asked = random.Random(0).sample(problems, min(N_MMLU, len(problems)))
    prompts = [Conversation(id=problem.id, messages=messages(MMLU, problem)) for problem in asked]
    params = SamplingParams(temperature=0.0, max_tokens=MMLU.max_tokens)
    with progress.task("MMLU", len(asked), "items") as task:
        completions = llm.complete(prompts, params, lambda *_: task.advance())
    graded = zip(asked, completions, strict=True)
    n_right = sum(grade(MMLU, "corrected", one, answer.text, GradingContext()).value == 1 for one, answer in graded)
    low, high = (100 * share for share in wilson(n_right, len(asked)))
    told = f"{100 * n_right / len(asked):.1f} % of {len(asked)} items, 95 % interval {low:.1f} to {high:.1f}"
    return Check("MMLU", high >= PUBLISHED_MMLU, f"{told}; phi-4 is published with {PUBLISHED_MMLU}")


def _problems(path: Path) -> list[Any]:
    from phidelity.eval.benchmarks.mmlu import MMLU

    if path.name != "mmlu.csv":
        raise UserError(f"{path}: expected a file called mmlu.csv, as simple-evals reads it. Rename it.")
    return MMLU.load(path.parent)


def _recorded(files: list[Path]) -> dict[str, str]:
    """The hashes that a stage's manifest holds of its model; a file of that name that is no manifest says nothing."""
    try:
        manifest = read_manifest(files[0].parent.parent)
    except UserError:
        return {}
    outputs = manifest.outputs if manifest else {}
    folder = files[0].parent.name
    return {Path(name).name: output.sha256 for name, output in outputs.items() if Path(name).parent.name == folder}


def _lacking_memory(weights: "Weights") -> str:
    """Why the network cannot run here, if it cannot: all but packed models compute in fp32."""
    from phidelity.checkpoint.packed import PackedWeights
    from phidelity.model.config import cache_bytes_per_token, memory_bytes

    n_tokens = min(weights.config.context_len, 4096)
    needed = memory_bytes(weights.config, 32.0, n_tokens)
    if isinstance(weights, PackedWeights):
        needed = weights.n_bytes + n_tokens * cache_bytes_per_token(weights.config, 4)
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed <= here:
        return ""
    return f"not run: it takes {readable_size(needed)}; this machine has {readable_size(here)}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text ({error}). Give a plain text.") from None
