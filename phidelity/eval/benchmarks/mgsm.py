"""MGSM: school word problems in eleven languages, `mgsm_<language>.tsv`.

The languages are those whose files are in the folder. The answer word may be the language's own or another's;
grouping is read as the language writes it (1.000 in German). Parity takes the last number after the last answer word
of the language, in ASCII, and compares texts, so native digits and a German 1.000 are wrong.
"""

from collections.abc import Sequence
from pathlib import Path

from phidelity.config import UserError
from phidelity.eval.benchmark import Benchmark, DataFile, GradingContext, Row, Texts, check_corrected
from phidelity.eval.files import read_tsv
from phidelity.eval.folder import grouped
from phidelity.grading import simple_evals
from phidelity.problems import prompts
from phidelity.records import Problem, Score

ORIGIN = "mgsm/ of google-research/url-nlp"
HASHES = {
    "bn": "6b00bc7cc635547e866989284afa924d789b5affa2eb8de623c385dd943ad977",
    "de": "4dfea30fede44b813e2e496f5f0534049e83c7cc8aed6e00600b30ec62053626",
    "en": "50021d0f28cc957edcb44e7806425b1c7fbd648ddcb9e0a8ec689d10e57d40fa",
    "es": "5bd27ebdf00140cec845c5298dc17715f5cd57d8edda6df1976db40bf3f0750a",
    "fr": "36207c1c03fd7cd3ea491441eb755408199f94e4a647851df531bbaedc99d606",
    "ja": "59a2b50debe77981fd784cb3b2bef1505e3abf2a37116dc9d7a366ab029b4637",
    "ru": "6bd30fd2e80c5bac23f566fb4ae0e6a55a19578401fbf9a01fb21beb3645fef8",
    "sw": "2bac828d77229e65d7c7197b1ad4a2cb5b1fe99b163f2cbdd66501de6a2115c4",
    "te": "dd6b1452c244bb2e4ba254c01ea84137f80c1cefc57d69c23b0ed88b9c0f36b7",
    "th": "f3932dc5ad8e9d0ea82b017adc1e1461dd647af861e7166d6741986602a0cfd6",
    "zh": "b2fa63151022370a0de1f4211c8c284eae74b0f5a3b003b1d5982c0d4a73f661",
}
LATIN = ("de", "en", "es", "fr", "sw")


def load(folder: Path) -> list[Problem]:
    """The rows of all mgsm_<language>.tsv of the folder; ids like `de/17`.

    Translations of one item are a cluster: rows of one number where all languages have the same answers.
    """
    paths = {language: found for language in prompts.MGSM if (found := _path(folder, language))}
    if not paths:
        raise UserError(
            f"No file of MGSM in {folder} (nor in mgsm/ there); expected one or more of mgsm_<language>.tsv, language "
            f"one of {', '.join(HASHES)}, 250 rows each, from {ORIGIN}. Put them there, or run the stage `benchmarks`."
        )
    rows = {language: read_tsv(path) for language, path in paths.items()}
    answers = {tuple(answer.replace(",", "") for _, answer in of_language) for of_language in rows.values()}
    is_parallel = len(answers) == 1
    return [problem for language in rows for problem in _language(rows[language], language, is_parallel)]


def official(problem: Problem, texts: Texts) -> str:
    """simple-evals' message, in the language of the problem."""
    return texts[f"mgsm/{problem.meta['language']}"].format(input=problem.meta["question"])


def parity(problem: Problem, response: str, context: GradingContext) -> Score:
    """The last number after the last answer word of the language, compared as text."""
    said = simple_evals.mgsm_number(response, prompts.ANSWER_WORD[problem.meta["language"]])
    right = simple_evals.mgsm_equal(problem.meta["answer"], said)
    return Score(value=float(right), extracted=said, explanation=f"expected {problem.meta['answer']}")


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """The score of each language, and of those in Latin and in other scripts."""
    values = [(one.meta["language"], score.value or 0.0) for one, score in rows]
    scripts = [("latin" if language in LATIN else "non_latin", value) for language, value in values]
    return grouped(values) | grouped(scripts)


def _path(folder: Path, language: str) -> Path | None:
    name = f"mgsm_{language}.tsv"
    return next((path for path in (folder / name, folder / "mgsm" / name) if path.is_file()), None)


def _language(rows: Sequence[Sequence[str]], language: str, is_parallel: bool) -> list[Problem]:
    return [
        Problem(
            id=f"{language}/{number}",
            prompt=prompts.mgsm(question, language),
            reference=answer.strip().replace(",", ""),
            checker="number",
            meta={"language": language, "question": question, "answer": answer}
            | ({"cluster": number} if is_parallel else {}),
        )
        for number, (question, answer) in enumerate(rows)
    ]


MGSM = Benchmark(
    name="mgsm",
    title="MGSM",
    load=load,
    files=tuple(DataFile(f"mgsm_{language}.tsv", ORIGIN, 250, digest) for language, digest in HASHES.items()),
    graders={"corrected": check_corrected, "parity": parity, "parity-2025": parity},
    official=official,
    needs=tuple(f"mgsm/{language}" for language in HASHES),
    measures=measures,
    source="Shi et al. 2022, CC BY-SA 4.0; mgsm_*.tsv of google-research/url-nlp, 250 rows each",
    deviations=(
        "own prompts unless imported; answer words of all languages, Unicode digits and grouping are understood"
    ),
    cluster="item, over its translations",
)
