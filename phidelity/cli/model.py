"""One model: what it says."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click

from phidelity import terminal
from phidelity.cli.options import (
    ANY,
    FILE,
    cache_option,
    device_option,
    json_option,
    kept_prefixes,
    memory_option,
    prefix_options,
    sampling_options,
)
from phidelity.config import UserError
from phidelity.pipeline import status as runs


@click.command()
@click.argument("model", type=ANY)
@click.option("--prompt", help="One prompt; the answer goes to standard output.")
@click.option(
    "--input",
    "source",
    type=FILE,
    help="JSON lines with `prompt` or `messages`, and optionally `id` and `params` (sampling for that line).",
)
@click.option(
    "--out",
    type=ANY,
    help="Where the answers to --input go, as JSON lines; a killed run goes on from there, a file "
    "of that name is replaced when all are there.",
)
@click.option("--raw", is_flag=True, help="Take the prompt as plain text, without the chat template.")
@sampling_options
@device_option
@memory_option
@cache_option
@prefix_options
@json_option
def generate(
    model: Path,
    prompt: str | None,
    source: Path | None,
    out: Path | None,
    raw: bool,
    device: str,
    memory: str | None,
    cache: str | None,
    prefix_cache: Path | None,
    prefix_cache_size: str,
    as_json: bool,
    **how: Any,
) -> None:
    """Let MODEL answer a prompt, or a file of them."""
    if (prompt is None) == (source is None):
        raise click.UsageError("Give either --prompt TEXT or --input FILE.")
    if (source is None) != (out is None):
        raise click.UsageError("--input FILE and --out FILE belong together.")
    from phidelity.completion import SamplingParams
    from phidelity.engine.offline import answer_file, check_out
    from phidelity.engine.prompts import as_prompt, read_prompts

    params = SamplingParams(**how)
    if source and out:  # what is wrong is told before a model is loaded
        check_out(source, out)
        read_prompts(source, params, raw=raw)
    kept = kept_prefixes(prefix_cache, prefix_cache_size)
    with closing(open_llm(runs.resolve_model(model), memory, cache, device, **kept)) as llm:
        if source and out:
            try:
                with terminal.watching(sys.stderr) as progress:
                    n = answer_file(llm, source, out, params, raw=raw, check=llm.check, progress=progress)
            except KeyboardInterrupt:
                kept = f"Stopped. Answers so far are kept in {out}.partial"
                raise UserError(f"{kept}; the same command goes on from there.") from None
            answers = f"{n} answer{'s' * (n != 1)} in {out}"
            click.echo(json.dumps({"answers": n, "out": str(out)}) if as_json else answers)
            return
        (completion,) = llm.complete([as_prompt(prompt or "", raw=raw)], params)
        if completion.finish_reason == "context_exceeded":
            found = f"The prompt has {completion.usage.prompt_tokens} tokens; {model} reads {llm.context_len} here"
            raise UserError(f"{found}, the answer included. Shorten it.")
        if completion.finish_reason == "error":
            raise UserError(f"{model} could not answer: {completion.error}. Check the model with `phi check`.")
        click.echo(completion.model_dump_json() if as_json else completion.text)


def open_llm(where: Path, memory: str | None, cache: str | None = None, device: str = "cpu", **options: Any) -> Any:
    """The model, loaded after its memory plan was shown on standard error and found to fit."""
    return loader(where, memory, cache, device, **options)()


def loader(
    where: Path, memory: str | None, cache: str | None = None, device: str = "cpu", **options: Any
) -> Callable[[], Any]:
    """What loads the model; its memory plan is shown first and found to fit."""
    from phidelity.checkpoint.open import look
    from phidelity.device import check_device
    from phidelity.engine.compact import can_hold_bytes
    from phidelity.engine.llm import open_model
    from phidelity.engine.memory import available_memory, parse_size, plan
    from phidelity.progress import readable_size

    budget = parse_size(memory) if memory else None
    seen = look(where)
    check_device(device, is_packed=seen.n_bytes is not None, cache_format=cache)
    cache = cache or ("int8" if seen.n_bytes and can_hold_bytes(seen.config) else "f32")
    planned = plan(
        seen.config,
        budget=budget,
        available=available_memory(device),
        packed=seen.n_bytes,
        weight_format="f32" if device == "cpu" else "bf16",
        cache_format=cache if device == "cpu" else "bf16",
    )
    click.echo("\n".join(planned.lines()), err=True)
    if spill := options.get("spill"):
        most = readable_size(options["spill_bytes"])
        click.echo(f"  prefixes are kept in {spill}, up to {most}; --prefix-cache none keeps none", err=True)
    return partial(
        open_model,
        where,
        device=device,
        n_running=planned.n_running,
        cache_bytes=planned.cache,
        context_len=planned.context_len,
        speculate=True,
        cache_format=cache,
        **options,
    )


def described(where: Path, n_parameters: int) -> str:
    """What a model is, in a line: whoever talks to a miniature is told so."""
    is_ours = any((parent / runs.RECIPE_JSON).is_file() for parent in where.resolve().parents)
    return f"{n_parameters:,}" + ("-parameter miniature trained by Phidelity; not phi-4" if is_ours else " parameters")
