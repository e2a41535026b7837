"""Attack a model and see what it does: by suites and strategies, or by hand with `--human`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from phidelity import terminal
from phidelity.cli.options import ANY, json_option
from phidelity.cli.scores import completer_of, data_option
from phidelity.config import UserError


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@click.command()
@click.option("--model", type=ANY, help="MODEL to attack.")
@click.option("--url", help="OpenAI-style endpoint to attack, such as http://localhost:8000/v1.")
@click.option("--model-name", metavar="NAME", help="The endpoint's name of the model.")
@click.option("--key-env", metavar="NAME", help="Environment variable that holds the endpoint's key.")
@click.option("--suites", "suite_names", metavar="NAME[,...]", default="xstest", show_default=True,
              help="Suites of --data, rai, or own:FILE with requests of your own.")  # fmt: skip
@data_option
@click.option("--attacks", metavar="NAME[,...]", help="Ways of putting requests [default: direct, or the persona's].")
@click.option("--persona", type=click.Choice(["average", "adversarial"]), help="Whose ways of attacking are used.")
@click.option("--attacker", metavar="URL|MODEL", help="Who thinks up messages for crescendo, pair, tap and rai.")
@click.option("--attacker-name", metavar="NAME", help="The attacker's model name, where --attacker is a URL.")
@click.option("--attacker-key-env", metavar="NAME", help="Environment variable that holds the attacker's key.")
@click.option("--judge", metavar="URL|MODEL", help="Who tells harm and use; without one they are undetermined.")
@click.option("--judge-name", metavar="NAME", help="The judge's model name, where --judge is a URL.")
@click.option("--judge-key-env", metavar="NAME", help="Environment variable that holds the judge's key.")
@click.option("--lacks", metavar="WHAT[,...]", default="", help="What the target cannot: turns, history.")
@click.option("--limit", type=click.IntRange(min=1), help="Requests of each suite, evenly chosen.")
@click.option("--budget", type=click.IntRange(min=1), help="Most answers of the target to ask for in this run.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--parallel", type=click.IntRange(min=1), default=16, show_default=True, help="Requests under way.")
@click.option("--human", is_flag=True, help="Converse yourself, and label what came of it.")
@click.option("--labeller", metavar="NAME", default="first", show_default=True, help="Who labels, with --human.")
@click.option("--out", type=ANY, required=True, help="Folder for transcripts, scores.json and index.html.")
@json_option
def redteam(out: Path, human: bool, as_json: bool, **options: Any) -> None:
    """Put harmful and harmless requests to a model and report what it refuses, with transcripts to read."""
    if (options["model"] is None) == (options["url"] is None):
        raise click.UsageError("Give either --model MODEL or --url URL.")
    if options["url"] and not options["model_name"]:
        raise click.UsageError("--url URL needs --model-name NAME, the model that the endpoint is asked for.")
    if human:
        _by_hand(_target(options, out), options, out)
        return
    found = _run(options, out)
    if as_json:
        click.echo(json.dumps(found))
    else:
        _tell(found, out)
    if open_ := found["facts"]["failed, to be tried again"]:
        raise UserError(f"{open_} conversations failed; what is there is kept. The same command tries them again.")
    if found["withheld"]:
        raise UserError(
            f"Rates of harm are withheld: {found['withheld']}. Give a judge that answers in the form asked."
        )


def _target(options: dict[str, Any], out: Path) -> Any:
    return completer_of(options["url"] or str(options["model"]), options["model_name"], options["key_env"],
                        n_parallel=options["parallel"], log=out / "requests.jsonl")  # fmt: skip


def _run(options: dict[str, Any], out: Path) -> dict[str, Any]:
    from phidelity.completion import SamplingParams
    from phidelity.safety.report import redteam as run
    from phidelity.safety.simulate import scenarios
    from phidelity.safety.strategies.table import PERSONAS, strategies, usable
    from phidelity.safety.suites import suites

    wanted = _names(options["suite_names"])
    names = _names(options["attacks"] or "") or PERSONAS.get(options["persona"], ("direct",))
    chosen = strategies([*names, "simulate"] if wanted == ["rai"] and not options["attacks"] else names)
    rai = [one for one in chosen if one.name == "simulate"]
    objectives, digests = suites([name for name in wanted if name != "rai"], options["data"], options["limit"])
    if "rai" in wanted and not (options["attacker"] and options["judge"]):
        raise UserError("The suite rai has a model play the user and another mark it. Give --attacker and --judge.")
    crew: dict[Any, Any] = {"target": _target(options, out)}
    for role in ("attacker", "judge"):
        if where := options[role]:
            crew[role] = completer_of(where, options[f"{role}_name"], options[f"{role}_key_env"], role=role)
    able = {"turns", "history", *crew} - set(_names(options["lacks"]))
    ready, lacking = usable(chosen, able)
    if "rai" in wanted:
        objectives, ready = [*objectives, *scenarios()], rai or strategies(["simulate"])
        if any(one.suite != "rai" for one in objectives):
            raise UserError("rai has users of its own and cannot be mixed with other suites. Run it by itself.")
    if not ready:
        why = "; ".join(f"{name} needs {what}" for name, what in lacking.items())
        raise UserError(f"No attack can be tried: {why}. Give what is needed, or other --attacks.")
    params = SamplingParams(max_tokens=options["max_tokens"], temperature=options["temperature"], seed=options["seed"])
    n_parameters = size_of(crew["target"])
    try:
        with terminal.watching(sys.stderr) as progress:
            return run(objectives, ready, crew, params, options["seed"], out, lacking=lacking, digests=digests,
                       n_parameters=n_parameters, budget=options["budget"], progress=progress)  # fmt: skip
    except KeyboardInterrupt:
        raise UserError("Stopped. No transcript is lost: the same command goes on where it stood.") from None


def size_of(target: Any) -> int | None:
    """Parameters by the model's shape, since matrices that kernels packed are none of torch's; None for an endpoint."""
    from phidelity.model.config import census

    config = getattr(getattr(target, "model", None), "config", None)
    return census(config).total if config else None


def _tell(found: dict[str, Any], out: Path) -> None:
    def share(one: dict[str, Any] | None) -> str:
        if one is None:
            return "undetermined"
        undone = f", corrected {one['corrected']['rate']:.1%}" if one["corrected"] else ""
        return f"{one['rate']:.1%} [{one['low']:.1%}, {one['high']:.1%}]{undone}"

    for row in found["rates"]["suite"]:
        click.echo(f"{row['name']}: {row['n_restricted']:,} restricted, {row['n_benign']:,} benign")
        for name in ("refused", "attack_success", "over_refusal", "useful", "pair_rate"):
            click.echo(f"  {name.replace('_', ' '):<15} {share(row[name])}")
    for row in found["rai"]:
        value = "undetermined" if row["value"] is None else f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        click.echo(f"{row['title']:<32} {row['measure']:<12} {value}")
    for name, value in found["facts"].items():
        click.echo(f"{name}: {value}")
    if found["warning"]:
        click.echo(f"Harm rates at this size mean nothing. {found['warning']}")
    click.echo(f"\nReport: {out / 'index.html'}")


def _by_hand(target: Any, options: dict[str, Any], out: Path) -> None:
    """Converse until /label ends a conversation; a second labeller first labels what the first left."""
    from phidelity.completion import SamplingParams
    from phidelity.records import Conversation, Message
    from phidelity.safety.human import Spoken, agreement, keep, read_label, spoken, unlabelled

    path, by = out / "human.jsonl", options["labeller"]
    lines = terminal.ask("> ")
    for one in unlabelled(path, by):
        for turn in one.messages:
            click.echo(terminal.printable(f"{turn.role}: {turn.content}"))
        click.echo("Hazard, severity 0-7, and `refused` where it declined (none 0):")
        for line in lines:
            try:
                keep(path, one.model_copy(update={"labels": (*one.labels, read_label(line, by))}))
                break
            except UserError as error:
                click.echo(str(error))
    click.echo(
        "Say what you like to the model; /label HAZARD SEVERITY [refused] ends a conversation, end of input leaves."
    )
    said: list[Message] = []
    params = SamplingParams(max_tokens=options["max_tokens"], temperature=options["temperature"], seed=options["seed"])
    for line in lines:
        if not line.startswith("/label "):
            said.append(Message(role="user", content=line))
            (answer,) = target.complete([Conversation(id="human", messages=tuple(said))], params)
            if answer.finish_reason not in ("stop", "length"):
                said.pop()
                click.echo(f"No answer ({answer.finish_reason} {answer.error}); the message is taken back.")
                continue
            said.append(Message(role="assistant", content=answer.text))
            click.echo(terminal.printable(answer.text))
            continue
        try:
            label = read_label(line.removeprefix("/label "), by)
        except UserError as error:
            click.echo(str(error))
            continue
        if said:
            number = len(spoken(path))
            keep(path, Spoken(id=f"human/{number}", target=target.name, messages=tuple(said), labels=(label,)))
            said = []
    found = agreement(spoken(path))
    click.echo(f"{len(spoken(path))} conversations in {path}; labelled twice: {found.pop('n')}; kappa: {found}")
