"""Rule by rule against datatrove 0.10, in its own Python: PHI_DATATROVE names its virtual environment.

    PHI_DATATROVE=DIR PHI_TEST_DATA=DIR make parity

Prints how often both decide alike; docs/benchmarks.md says why they do not where they do not.
"""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from phidelity.data.rules import RULES, score
from phidelity.data.sources import Source, read_source
from phidelity.records import Document

pytestmark = pytest.mark.parity
SOURCES = ("wikipedia_wikitext", "plainlanguage_gov", "python_peps", "openstax_psychology", "crawl_sim_warc")
FLOOR = 0.85
"""Share of documents on which each rule must agree; those below it are explained one by one."""
EXPLAINED = {"gopher_letters": 0.5}


@pytest.fixture(scope="module")
def documents():
    data = Path(os.environ.get("PHI_TEST_DATA", "nowhere")) / "corpus"
    if not data.is_dir():
        pytest.skip("PHI_TEST_DATA is not set")
    items = [item for name in SOURCES for item in read_source(Source(name, str(data / name), ("labels.jsonl",)))]
    english = [item for item in items if isinstance(item, Document) and item.meta["language"] == "en" and item.text]
    return [document for document in english if len(document.text) < 60_000]


def test_each_shared_rule_decides_as_datatrove_does_but_for_what_is_explained(documents, tmp_path, capsys):
    if not (place := os.environ.get("PHI_DATATROVE")):
        pytest.skip("PHI_DATATROVE names no virtual environment with datatrove")
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(document.text) + "\n" for document in documents))
    oracle = Path(__file__).with_name("datatrove_oracle.py")
    command = [f"{place}/bin/python", str(oracle), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": ""})
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(theirs) == len(documents)
    alike, only_ours, only_theirs = Counter(), Counter(), Counter()
    rules = {rule.name: rule for rule in RULES}
    for document, kept in zip(documents, theirs, strict=True):
        values = score(document.text, "prose")
        for name, keeps in kept.items():
            names = ("gopher_hashes", "gopher_ellipses") if name == "gopher_symbols" else (name,)
            drops = any(rules[one].fails(values.get(one, rules[one].threshold)) for one in names)
            alike[name] += drops != keeps
            only_ours[name] += drops and keeps
            only_theirs[name] += not drops and not keeps
    with capsys.disabled():
        print(f"\n{len(documents)} documents")
        for name in kept:
            share = alike[name] / len(documents)
            print(f"| `{name}` | {share:.1%} | {only_ours[name]} | {only_theirs[name]} |")
    for name in kept:
        assert alike[name] >= EXPLAINED.get(name, FLOOR) * len(documents), name
