"""MGSM: school word problems in many languages, `mgsm_<language>.tsv`.

The languages are those whose files are in the folder and for which `problems.prompts` has a message. The answer
word may be the language's own or another's; grouping is read as the language writes it (1.000 in German).
"""

from collections.abc import Sequence
from pathlib import Path

from phidelity.config import UserError
from phidelity.eval.benchmark import Benchmark
from phidelity.eval.files import read_tsv
from phidelity.problems import prompts
from phidelity.records import Problem


def load(folder: Path) -> list[Problem]:
    """The rows of all mgsm_<language>.tsv of the folder; ids like `de/17`.

    Translations of one item are a cluster: rows of one number where all languages have the same answers.
    """
    languages = [language for language in prompts.MGSM if (folder / f"mgsm_{language}.tsv").is_file()]
    if not languages:
        wanted = ", ".join(f"mgsm_{language}.tsv" for language in prompts.MGSM)
        raise UserError(f"No file of MGSM in {folder}; expected one or more of {wanted}. Run the stage `benchmarks`.")
    rows = {language: read_tsv(folder / f"mgsm_{language}.tsv") for language in languages}
    answers = {tuple(answer for _, answer in rows[language]) for language in languages}
    is_parallel = len(answers) == 1
    return [problem for language in languages for problem in _language(rows[language], language, is_parallel)]


def _language(rows: Sequence[Sequence[str]], language: str, is_parallel: bool) -> list[Problem]:
    return [
        Problem(
            id=f"{language}/{number}",
            prompt=prompts.mgsm(question, language),
            reference=answer.strip().replace(",", ""),
            checker="number",
            meta={"language": language} | ({"cluster": number} if is_parallel else {}),
        )
        for number, (question, answer) in enumerate(rows)
    ]


MGSM = Benchmark(
    name="mgsm",
    title="MGSM",
    load=load,
    source="Shi et al. 2022, CC BY-SA 4.0; mgsm_*.tsv of google-research/url-nlp, 250 rows each",
    deviations="own prompts; answer words of all languages are read, Unicode digits and grouping are understood",
)
