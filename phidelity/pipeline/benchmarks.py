"""Stage `benchmarks`: the run's own evaluation problems, as files in the official formats of eight benchmarks.

They are miniatures in the manner of MMLU, MATH, GPQA, DROP, MGSM, HumanEval, SimpleQA and IFEval, drawn from the test
split, graded later by the code that grades the official ones. `strata.json` says of each problem what is new in it
(`seen`: only the combination; `range`: values; `template`: the wording). `development.jsonl` comes from a split of
its own and is for choosing prompt formats and thresholds, never for results.
"""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import Field

from phidelity.config import Config, UserError
from phidelity.problems.families import context, item, problem
from phidelity.problems.item import Item, Split
from phidelity.progress import SILENT, Progress
from phidelity.records import atomic, write_json, write_records

Summary = dict[str, Any]

FAMILIES_OF: dict[str, tuple[str, ...]] = {
    "mmlu": ("choice_sum", "choice_largest", "choice_fact"),
    "math": ("things_en",),
    "gpqa": ("choice_chain",),
    "drop": ("passage",),
    "mgsm_en": ("money_en",),
    "mgsm_de": ("money_de",),
    "humaneval": ("function",),
    "simpleqa": ("fact", "unknown"),
    "ifeval": ("instruction",),
}
"""Which families make up each evaluation file."""
N_EXEMPLARS = 50
"""Passages with answers from the training split, for DROP's few-shot prompts."""
_PATIENCE = 100
"""How many draws each wanted problem may cost before we say that there are no more."""


class BenchmarksConfig(Config):
    """How many problems each miniature benchmark has; 500 in all by default."""

    mmlu: int = Field(default=80, ge=3)
    """Four options: small sums, comparisons, single facts."""
    math: int = Field(default=120, ge=3)
    """Word problems with one or two operations."""
    gpqa: int = Field(default=40, ge=3)
    """Four options, two facts in a chain."""
    drop: int = Field(default=60, ge=3)
    """A passage with numbers and a question."""
    mgsm: int = Field(default=40, ge=3)
    """Word problems about money and age in each of two languages."""
    humaneval: int = Field(default=40, ge=3)
    """Functions to be completed."""
    simpleqa: int = Field(default=80, ge=3)
    """Short questions about facts, with and without an answer."""
    unanswerable: float = Field(default=0.375, ge=0, lt=1)
    """Share of the short questions that have no answer."""
    ifeval: int = Field(default=0, ge=0)
    """Requests with a checkable constraint; 0 leaves the file out."""
    development: int = Field(default=104, ge=8)
    """Problems of the development split."""


def benchmarks(config: BenchmarksConfig, *, seed: int, out: Path, progress: Progress = SILENT) -> Summary:
    """Write the evaluation files, their strata and the development problems."""
    drawn = _draw_all(config, seed)
    with progress.task("benchmarks", len(drawn), "files") as task:
        for name, items in drawn.items():
            _WRITERS[name](out, items)
            task.advance(note=name)
    _write_drop(out / "drop_v0_train.jsonl.gz", distinct("passage", "train", seed, N_EXEMPLARS))
    write_json(out / "strata.json", _strata(drawn))
    write_records(out / "development.jsonl", map(problem, _development(config, seed)))
    return _summary(drawn)


def distinct(name: str, split: Split, seed: int, n: int) -> list[Item]:
    """The first `n` different problems of a family's split, its strata in equal parts."""
    strata = sorted({item(name, split, seed, index).stratum for index in range(100)})
    wanted = {stratum: n // len(strata) + (place < n % len(strata)) for place, stratum in enumerate(strata)}
    items: dict[Hashable, Item] = {}
    for index in range(_PATIENCE * n):
        if len(items) == n:
            break
        one = item(name, split, seed, index)
        if wanted[one.stratum] and _identity(one) not in items:
            wanted[one.stratum] -= 1
            items[_identity(one)] = one
    if len(items) < n:
        raise UserError(
            f"benchmarks: {n} different problems of the family {name!r} ({split} split) are wanted, {len(items)} "
            "were found. Ask for fewer."
        )
    return list(items.values())


def _draw_all(config: BenchmarksConfig, seed: int) -> dict[str, list[Item]]:
    """The problems of each file; where families share one, they take turns."""
    drawn = {}
    for file, names in FAMILIES_OF.items():
        counts = _counts(config, file, names)
        lists = [distinct(name, "test", seed, n) for name, n in zip(names, counts, strict=True) if n]
        drawn[file] = [one for turn in zip_longest(*lists) for one in turn if one is not None]
    return {file: items for file, items in drawn.items() if items}


def _counts(config: BenchmarksConfig, file: str, names: Sequence[str]) -> list[int]:
    if file == "simpleqa":
        unknown = round(config.unanswerable * config.simpleqa)
        return [config.simpleqa - unknown, unknown]
    n = getattr(config, file.split("_")[0])
    return [n // len(names) + (place < n % len(names)) for place in range(len(names))]


def _development(config: BenchmarksConfig, seed: int) -> list[Item]:
    """Problems of the development split, the evaluation files taking turns."""
    files = [names for file, names in FAMILIES_OF.items() if file != "ifeval"]
    n = config.development // len(files)
    lists = [distinct(name, "development", seed, max(1, n // len(names))) for names in files for name in names]
    lists.append(distinct("instruction", "development", seed, min(config.ifeval, n)))
    return [one for items in lists for one in items]


def _identity(one: Item) -> Hashable:
    """What makes two problems the same: the fact, the function and its wording, else the question."""
    meta = one.meta
    if one.family in ("fact", "unknown"):
        return meta["subject"], meta["attribute"]
    return (meta["entry_point"], one.template) if one.family == "function" else one.question


def _strata(drawn: dict[str, list[Item]]) -> dict[str, dict[str, str]]:
    """Benchmark -> id of the problem -> stratum."""
    strata: dict[str, dict[str, str]] = {}
    for file, items in drawn.items():
        table = strata.setdefault(file.split("_")[0], {})
        table |= {_ID.get(file, str)(place): one.stratum for place, one in enumerate(items)}
    return strata


_ID: dict[str, Callable[[int], str]] = {
    "gpqa": lambda place: f"mini-gpqa-{place}",
    "mgsm_en": lambda place: f"en/{place}",
    "mgsm_de": lambda place: f"de/{place}",
    "humaneval": lambda place: f"mini-HumanEval/{place}",
    "ifeval": lambda place: str(place),
}
"""How a file names its problems, where not by row number."""


def _summary(drawn: dict[str, list[Item]]) -> Summary:
    strata = Counter(one.stratum for items in drawn.values() for one in items)
    counts = {f"problems/{file}": len(items) for file, items in drawn.items()}
    return counts | {"problems": strata.total()} | {f"stratum/{name}": n for name, n in sorted(strata.items())}


def _write_mmlu(out: Path, items: list[Item]) -> None:
    rows = [(one.question, *one.meta["options"], one.answer, one.meta["subject"]) for one in items]
    _write_csv(out / "mmlu.csv", ("Question", *"ABCD", "Answer", "Subject"), rows)


def _write_math(out: Path, items: list[Item]) -> None:
    _write_csv(out / "math_test.csv", ("Question", "Answer"), [(one.question, one.answer) for one in items])


def _write_gpqa(out: Path, items: list[Item]) -> None:
    header = ("Question", "Correct Answer", *(f"Incorrect Answer {n}" for n in (1, 2, 3)), "Record ID")
    rows = []
    for place, one in enumerate(items):
        wrong = [option for option in one.meta["options"] if option != one.meta["value"]]
        rows.append((one.question, one.meta["value"], *wrong, _ID["gpqa"](place)))
    _write_csv(out / "gpqa_diamond.csv", header, rows)


def _write_mgsm(out: Path, items: list[Item]) -> None:
    with atomic(out / f"mgsm_{items[0].language}.tsv", "w") as file:
        file.writelines(f"{one.question}\t{one.answer}\n" for one in items)


def _write_drop_dev(out: Path, items: list[Item]) -> None:
    _write_drop(out / "drop_v0_dev.jsonl.gz", items)


def _write_drop(path: Path, items: list[Item]) -> None:
    _write_gz(
        path, ({"context": context(one), "completion": f" {one.answer}", "ref_text": one.answer} for one in items)
    )


def _write_humaneval(out: Path, items: list[Item]) -> None:
    keys = ("prompt", "entry_point", "canonical_solution", "test")
    rows = [
        {"task_id": _ID["humaneval"](place)} | {key: one.meta[key] for key in keys} for place, one in enumerate(items)
    ]
    _write_gz(out / "HumanEval.jsonl.gz", rows)


def _write_simpleqa(out: Path, items: list[Item]) -> None:
    rows = []
    for one in items:
        topic = "unknown" if one.family == "unknown" else one.meta["kind"]
        metadata = {"topic": topic, "answer_type": one.meta["attribute"], "urls": []}
        rows.append((repr(metadata), one.question, one.answer))
    _write_csv(out / "simple_qa_test_set.csv", ("metadata", "problem", "answer"), rows)


def _write_ifeval(out: Path, items: list[Item]) -> None:
    rows = (
        {"key": place, "prompt": one.question, "instruction_id_list": one.meta["instructions"]}
        | {"kwargs": one.meta["arguments"]}
        for place, one in enumerate(items)
    )
    with atomic(out / "input_data.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with atomic(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_gz(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """JSON lines, compressed without a clock value: the same rows give the same bytes."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with atomic(path) as file:
        file.write(gzip.compress(lines.encode(), mtime=0))


_WRITERS: dict[str, Callable[[Path, list[Item]], None]] = {
    "mmlu": _write_mmlu,
    "math": _write_math,
    "gpqa": _write_gpqa,
    "drop": _write_drop_dev,
    "mgsm_en": _write_mgsm,
    "mgsm_de": _write_mgsm,
    "humaneval": _write_humaneval,
    "simpleqa": _write_simpleqa,
    "ifeval": _write_ifeval,
}
