"""Prompt templates: Markdown files under `prompts/` with a version, how to sample, and places for values.

A value always goes in as a JSON string (or number), so a seed cannot end its own field. Whoever changes a text raises
its version; a test holds the two together. All wording is ours: phi-4's prompts are not published.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from phidelity.completion import SamplingParams

FOLDER = Path(__file__).parent / "prompts"
_PLACE = re.compile(r"\{\{(\w+)\}\}")


class Template(NamedTuple):
    """A prompt with places `{{name}}`."""

    name: str
    version: int
    params: SamplingParams
    text: str

    def render(self, values: dict[str, str | int]) -> str:
        """The prompt with its values as JSON, put in at one go: what a value contains is never a place."""
        return _PLACE.sub(lambda place: json.dumps(values[place.group(1)], ensure_ascii=False), self.text)


@cache
def template(name: str) -> Template:
    """The template of that name."""
    _, head, text = (FOLDER / f"{name}.md").read_text(encoding="utf-8").split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in head.strip().splitlines())
    params = SamplingParams(temperature=float(fields["temperature"]), max_tokens=int(fields["max_tokens"]))
    return Template(name, int(fields["version"]), params, text.strip())


def templates() -> list[str]:
    """The names of all templates."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))
