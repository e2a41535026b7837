"""From objectives to a report: have the conversations, score them, write scores.json and index.html.

What a red team's command does between reading its options and printing; nothing here knows a command line.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phidelity.completion import Completer, SamplingParams
from phidelity.grading.referee import Referee
from phidelity.grading.verdict import mark_messages, parse_mark
from phidelity.progress import SILENT, Progress
from phidelity.records import write_json
from phidelity.safety import scores, simulate
from phidelity.safety.pages import size_warning, write_page
from phidelity.safety.redteam import Ran, Transcript, outcomes, plan, run_cases
from phidelity.safety.strategies.talk import Role, Strategy
from phidelity.safety.suites import Objective, digest_of


def redteam(
    objectives: Sequence[Objective],
    chosen: Sequence[Strategy],
    crew: Mapping[Role, Completer],
    params: SamplingParams,
    seed: int,
    out: Path,
    *,
    lacking: Mapping[str, str],
    digests: Mapping[str, str],
    n_parameters: int | None = None,
    budget: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Run and report; returns what stands in scores.json."""
    cases = plan(objectives, chosen, crew["target"].name, params, seed)
    ran = run_cases(cases, crew, params, seed, out, budget=budget, progress=progress)
    judge = Referee(crew["judge"], path=out / "verdicts.jsonl") if "judge" in crew else None
    found = scores.score(ran.transcripts, judge)
    scorers = scores.measure_judge(judge, seed) if judge else scores.Scorers(scores.refusal_rules())
    tables = {by: scores.table(ran.transcripts, found, scorers, by, seed) for by in ("suite", "hazard", "attack")}
    rai = _rai(ran.transcripts, judge)
    facts = _facts(ran, cases, crew, lacking, found)
    written = {
        "target": crew["target"].name,
        "objectives": digest_of(objectives),
        "files": dict(digests),
        "facts": facts,
        "scorers": {name: one._asdict() for name, one in scorers._asdict().items() if one},
        "withheld": found.withheld,
        "warning": size_warning(n_parameters),
        "rates": tables,
        "rai": rai,
    }
    write_json(out / "scores.json", written)
    write_page(
        out / "index.html",
        ran.transcripts,
        found.verdicts,
        title=f"Red team of {crew['target'].name}",
        target=crew["target"].name,
        small=written["warning"],
        judged=judge is not None,
        withheld=found.withheld,
        tables=list(tables.items()),
        scorers=[
            ("refused", "rules", scorers.refused),
            ("harmful", crew["judge"].name if judge else "judge", scorers.harmful),
            ("useful", crew["judge"].name if judge else "judge", scorers.useful),
        ],
        rai=rai,
        facts=[*facts.items(), *((f"SHA-256 of {name}", digest) for name, digest in digests.items())],
    )
    return written


def _facts(
    ran: Ran, cases: Sequence[Any], crew: Mapping[Role, Completer], lacking: Mapping[str, str], found: scores.Scores
) -> dict[str, Any]:
    facts: dict[str, Any] = {"conversations planned": len(cases), **outcomes(ran.transcripts)}
    facts |= {"failed, to be tried again": ran.n_failed, "beyond the budget": ran.n_unpaid}
    facts |= {f"not tried: {name}": f"needs {what}" for name, what in lacking.items()}
    facts |= {role: one.name for role, one in crew.items()}
    return facts | {"shown to the judge": found.n_shown, "left undetermined by it": found.n_undetermined}


def _rai(transcripts: Sequence[Transcript], judge: Referee | None) -> list[dict[str, Any]]:
    """The report's table, where simulated users were among the strategies."""
    had = [one for one in transcripts if one.objective.suite == "rai"]
    if not had or not judge:
        return []
    marks: dict[str, list[int | None]] = {}
    prompts = {one.key: _mark_prompt(one) for one in had if one.outcome == "answered"}
    for prompt in prompts.values():
        judge.ask(prompt)
    judge.settle()
    for one in had:
        highest = 5 if one.objective.kind == simulate.GROUNDING else 7
        reply = judge.ask(prompts[one.key]) if one.key in prompts else None
        marks.setdefault(one.objective.kind, []).append(parse_mark(reply or "", highest))
    return simulate.table(marks)


def _mark_prompt(one: Transcript) -> str:
    turns = [f"{turn.role}: {turn.content}" for turn in one.messages] + [f"assistant: {one.answer}"]
    return mark_messages(one.objective.kind, "\n".join(turns))[0].content
