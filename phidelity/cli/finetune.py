"""`phi finetune`: a model taught a person's own examples."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from phidelity import terminal
from phidelity.cli.options import ANY, json_option
from phidelity.config import UserError, parse
from phidelity.pipeline import status as runs
from phidelity.progress import readable_size

_OPTIONS = (
    click.option("--out", type=ANY, required=True, help="The adapter: a new folder, for --adapter and for PEFT."),
    click.option("--method", type=click.Choice(["sft", "dpo"]), help="[default: as the data is]"),
    click.option("--split", default="train", show_default=True, help="Which files of a folder."),
    click.option("--drop-bad", is_flag=True, help="Leave out rows that are wrong instead of refusing the data."),
    click.option("--targets", default="all-linear", show_default=True, help="Modules by fused or split names."),
    click.option("--all-parameters", is_flag=True, help="Train the weights themselves instead of an adapter."),
    click.option("--rank", type=click.IntRange(min=1), help="Rank of the adapter."),
    click.option("--alpha", type=click.FloatRange(min=0, min_open=True), help="Its scale is alpha over rank."),
    click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Peak learning rate."),
    click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="Most passes over the data."),
    click.option("--batch", type=click.IntRange(min=1), help="Examples a step."),
    click.option("--context", "context_len", type=click.IntRange(min=9), help="Longest example in tokens."),
    click.option(
        "--recompute/--keep", "recompute", default=None, help="The inside of blocks: less memory, or less time."
    ),
    click.option("--held-out", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.1, help="A share."),
    click.option("--patience", type=click.IntRange(min=1), default=3, show_default=True, help="Of the early stop."),
    click.option("--beta", type=click.FloatRange(min=0, min_open=True), default=0.1, help="Of DPO."),
    click.option("--layout", type=click.Choice(["fused", "split"]), default="fused", show_default=True),
    click.option("--seed", type=int, default=0, show_default=True),
    click.option("--look", is_flag=True, help="Only look at the data and print the choices."),
)  # fmt: skip


def _options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("model", type=ANY)
@click.argument("data", type=ANY)
@_options
@json_option
def finetune(model: Path, data: Path, out: Path, look: bool, targets: str, as_json: bool, **given: Any) -> None:
    """Teach MODEL the chats or preferences in DATA; OUT is an adapter that PEFT reads, too.

    DATA is a file or folder of JSON lines, JSON, Parquet or Arrow: OpenAI messages, ShareGPT, Alpaca, UltraFeedback,
    HH-RLHF, BeaverTails, or prompts with a completion or with chosen and rejected answers.

    What is not given is chosen, and printed with its reason. A run that was killed goes on with the same command.
    """
    from phidelity.checkpoint.packed import PackedWeights
    from phidelity.device import give_back_freed_memory
    from phidelity.engine.memory import available_memory
    from phidelity.train import finetune as training
    from phidelity.train.choices import FinetuneConfig
    from phidelity.train.finetune_job import decide
    from phidelity.train.finetune_plan import check_fits

    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists; nothing is written over. Give another --out, or move it away.")
    config = parse(FinetuneConfig, {**given, "targets": (targets,)}, "phi finetune")
    with terminal.watching(sys.stderr) as progress:
        job = decide(runs.resolve_model(model), data, config, progress=progress)
        base = "all" if config.all_parameters else "fp32"
        if isinstance(job.weights, PackedWeights):
            base = job.weights.header["to"]
        rank = 1 if config.all_parameters else job.of("rank")
        fits = check_fits(
            job.weights.config, base, available_memory(), rank=rank, context_len=job.of("context_len"),
            recompute=None if config.all_parameters else job.of("recompute") == "yes",
        )  # fmt: skip
        click.echo("\n".join([*job.lines(), f"memory: {readable_size(fits.total)} at most", *_shown(job)]), err=True)
        if look:
            return
        if not config.all_parameters and job.of("recompute") == "yes":
            give_back_freed_memory()
        report = training.finetune(job, out, progress=progress)
    click.echo(json.dumps({"out": str(out), **report}) if as_json else _told(out, report, model, config.all_parameters))


def _shown(job: Any) -> list[str]:
    """The shortest example, what is trained of it in green (between brackets where there is no terminal)."""
    from phidelity.train.examples import spans

    one = min(job.look.kept, key=lambda one: len(one.rendered.ids))
    is_terminal = sys.stderr.isatty()
    mark = (lambda text: click.style(text, fg="green")) if is_terminal else (lambda text: f"[[{text}]]")
    said = [(terminal.printable(text), trained) for text, trained in spans(one, job.weights.tokenizer)]
    shown = "".join(mark(text) if trained else text for text, trained in said)
    return [f"row {one.row}, what is trained {'in green' if is_terminal else 'between [[ and ]]'}:", f"  {shown:.2000}"]


def _told(out: Path, report: dict[str, Any], model: Path, is_whole: bool) -> str:
    found = report["held_out"]
    change = f"{found['change']:+.4f} +- {found['stderr']:.4f}, {found['n']} examples"
    use = f"phi chat {out}" if is_whole else f"phi chat {model} --adapter {out.name}={out}"
    return (
        f"{out}: held-out loss {found['before']:.4f} before, {found['after']:.4f} after ({change}), step "
        f"{report['best_step']} of {report['steps']}\nlook at {out / 'samples.md'}; use it: {use}"
    )
