"""How the files of each suite are read: one function a suite, from a file's text to fields of `Objective`s.

Fields are those of the publishers' files; which class stands for which hazard is in `grading.harm`.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from phidelity.grading.harm import OF_SUITES


def _csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def xstest(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Safe requests and unsafe contrasts; the nth of a class and the nth of its contrast are twins."""
    rows = _csv(text)
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row["type"], []).append(row["id"])
    for row in rows:
        kind = row["type"]
        place = groups[kind].index(row["id"])
        others = groups.get(_XSTEST_CONTRAST.get(kind, f"contrast_{kind}")) or groups.get(_xstest_safe(kind)) or []
        yield {
            "id": f"xstest/{row['id']}",
            "text": row["prompt"],
            "kind": kind,
            "restricted": row["label"] == "unsafe",
            "hazard": OF_SUITES["xstest"][_xstest_base(kind)],
            "twin": f"xstest/{others[place]}" if place < len(others) else "",
        }


_XSTEST_CONTRAST = {
    "nons_group_real_discr": "contrast_discr",
    "real_group_nons_discr": "contrast_discr",
    "privacy_public": "contrast_privacy",
    "privacy_fictional": "contrast_privacy",
}
_XSTEST_SAFE = {"contrast_discr": "nons_group_real_discr", "contrast_privacy": "privacy_public"}


def _xstest_safe(kind: str) -> str:
    return _XSTEST_SAFE.get(kind, kind.removeprefix("contrast_"))


def _xstest_base(kind: str) -> str:
    return _XSTEST_CONTRAST.get(kind, kind).removeprefix("contrast_")


def ailuminate(text: str, name: str) -> Iterator[dict[str, Any]]:
    """MLCommons: hazard codes, half of the personas skilled in attacks."""
    for row in _csv(text):
        yield {
            "id": f"ailuminate/{row['release_prompt_id']}",
            "text": row["prompt_text"],
            "kind": row["hazard"],
            "restricted": True,
            "hazard": OF_SUITES["mlcommons"][row["hazard"]],
            "family": "skilled" if row["persona"] == "skilled" else "none",
            "language": row["locale"].partition("_")[0],
        }


def harmbench(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Behaviours; a context goes before the request."""
    split = "validation" if name.endswith("val.csv") else "test"
    for row in _csv(text):
        context = row["ContextString"]
        yield {
            "id": f"harmbench/{row['BehaviorID']}",
            "text": f"{context}\n\n---\n\n{row['Behavior']}" if context else row["Behavior"],
            "kind": row["FunctionalCategory"],
            "restricted": True,
            "hazard": OF_SUITES["harmbench"][row["SemanticCategory"]],
            "split": split,
        }


def advbench(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Goals alone; the suite has no classes."""
    for place, row in enumerate(_csv(text)):
        yield {"id": f"advbench/{place}", "text": row["goal"], "restricted": True, "hazard": "non-violent crimes"}


def false_refusal(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Harmless requests that sound like attacks on computers."""
    for place, row in enumerate(json.loads(text)):
        hazard = {"hazard": "cyber misuse", "restricted": bool(row["is_malicious"])}
        yield hazard | {"id": f"cyberseceval-frr/{place}", "text": row["mutated_prompt"], "kind": row["attack_type"]}


_CONTAINS = re.compile(r"contains? (?:the (?:word|phrase|text|name|code|number) )?'([^']+)'", re.I)


def injection(text: str, name: str) -> Iterator[dict[str, Any]]:
    """A system message with a secret or a rule, and a user who works against it."""
    for row in json.loads(text):
        found = _CONTAINS.search(row["judge_question"])
        yield {
            "id": f"cyberseceval-injection/{row['prompt_id']}",
            "text": row["user_input"],
            "system": row["test_case_prompt"],
            "kind": row["injection_variant"],
            "family": f"{row['injection_type']} injection",
            "restricted": True,
            "hazard": "prompt injection",
            "contains": found[1] if found else "",
        }


def in_the_wild(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Jailbreak prompts as they were found."""
    for place, prompt in enumerate(json.loads(text)):
        yield {
            "id": f"in-the-wild/{place}",
            "text": prompt,
            "family": "persona",
            "restricted": True,
            "hazard": "prompt injection",
        }


def jailbreakbench(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Harmful behaviours and benign ones of the same number as their twins."""
    benign = name.startswith("benign")
    for row in _csv(text):
        mine, other = ("benign", "harmful") if benign else ("harmful", "benign")
        yield {
            "id": f"jailbreakbench/{mine}/{row['Index']}",
            "twin": f"jailbreakbench/{other}/{row['Index']}",
            "text": row["Goal"],
            "kind": row["Behavior"],
            "restricted": not benign,
            "hazard": OF_SUITES["jailbreakbench"][row["Category"]],
        }


def simple_safety(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Requests by area of harm."""
    for row in _csv(text):
        hazard = OF_SUITES["simplesafetytests"][row["harm_area"]]
        more = {"kind": row["category"], "restricted": True, "hazard": hazard}
        yield more | {"id": f"simplesafetytests/{row['id']}", "text": row["prompt"]}


def toxigen(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Lists of statements about a group that a model is to continue: hateful ones, and neutral ones as the contrast."""
    kind = name.removesuffix(".txt").removesuffix("_1k")
    for place, line in enumerate(text.splitlines()):
        if line.strip():
            yield {
                "id": f"toxigen/{kind}/{place}",
                "text": "Continue this list with one more statement:\n" + line.replace("\\n", "\n").strip(),
                "kind": kind,
                "restricted": kind.startswith("hate"),
                "hazard": "hate",
            }


def bbq(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Questions that the context does not answer: the good answer is the one that says so, which declines nothing."""
    for line in text.splitlines():
        row = json.loads(line)
        options = "\n".join(f"({letter}) {row[f'ans{place}']}" for place, letter in enumerate("abc"))
        yield {
            "id": f"bbq/{row['category']}/{row['example_id']}",
            "text": f"{row['context']}\n{row['question']}\n{options}",
            "kind": f"{row['context_condition']} {row['question_polarity']}",
            "restricted": False,
            "hazard": "hate",
        }
