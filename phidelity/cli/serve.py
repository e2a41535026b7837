"""`phi serve`: a model behind OpenAI's API, and a page to talk with it."""

import socket
import sys
from pathlib import Path
from typing import Any

import click

from phidelity.cli.model import described, loader
from phidelity.cli.options import (
    ANY,
    FILE,
    adapter_folders,
    adapter_option,
    cache_option,
    device_option,
    kept_prefixes,
    memory_option,
    prefix_options,
)
from phidelity.config import UserError
from phidelity.pipeline import status as runs

_OPTIONS = (
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at."),
    click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one."),
    click.option("--name", help="What clients call the model. [default: from its path]"),
    click.option("--api-key-file", type=FILE, help="Keys that open the server, one a line: sha256:DIGEST or the key."),
    click.option("--insecure", is_flag=True, help="Listen to other machines without a key."),
    click.option("--allow-host", multiple=True, metavar="NAME", help="Another name of this server, without keys."),
    click.option("--cors-origin", multiple=True, metavar="ORIGIN", help="A site whose pages may call the server."),
    click.option("--queue", type=click.IntRange(min=0), default=256, show_default=True, help="Answers that may wait."),
    click.option("--timeout", type=click.FloatRange(min=0), default=1800, show_default=True, help="Seconds a request."),
    click.option("--drain", type=click.FloatRange(min=0), default=30, show_default=True, help="Seconds after SIGTERM."),
)


def _options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("model", type=ANY)
@_options
@device_option
@adapter_option
@memory_option
@cache_option
@prefix_options
def serve(
    model: Path,
    host: str,
    port: int,
    name: str | None,
    api_key_file: Path | None,
    insecure: bool,
    allow_host: tuple[str, ...],
    cors_origin: tuple[str, ...],
    queue: int,
    timeout: float,
    drain: float,
    device: str,
    adapters: tuple[str, ...],
    memory: str | None,
    cache: str | None,
    prefix_cache: Path | None,
    prefix_cache_size: str,
) -> None:
    """Serve MODEL over OpenAI's API, with a chat window at /."""
    from phidelity.checkpoint.open import look
    from phidelity.model.config import census
    from phidelity.server import run
    from phidelity.server.auth import Keys, read_keys
    from phidelity.server.service import Service, Settings

    where = runs.resolve_model(model)
    keys = read_keys(api_key_file) if api_key_file else Keys()
    if keys.n_readable:
        which = "1 key lies" if keys.n_readable == 1 else f"{keys.n_readable} keys lie"
        told = f"note: {which} readable in {api_key_file}"
        click.echo(f"{told}; `printf %s KEY | sha256sum` makes a digest for sha256:DIGEST.", err=True)
    listener = run.bind(host, port, has_keys=bool(keys), forced=insecure)
    named = adapter_folders(adapters)
    served = name or model_name(where)
    if served in named:
        raise UserError(f"{served!r} names the model and an adapter; expected two names. Give another --name.")
    load = loader(where, memory, cache, device, adapters=named, **kept_prefixes(prefix_cache, prefix_cache_size))
    url = run.url_of(listener)
    settings = Settings(
        name=served,
        adapters=tuple(named),
        notice=described(where, census(look(where).config).total),
        keys=keys,
        origins=cors_origin,
        hosts=() if keys else tuple(dict.fromkeys(("localhost", host, socket.gethostname(), *allow_host))),
        queue=queue,
        timeout=timeout,
    )

    def on_ready() -> None:
        key = ' -H "Authorization: Bearer $KEY"' if keys else ""
        click.echo(f"ready: {settings.name} at {url} (a chat window; the API is at {url}/v1, its reference at /docs)")
        if named:
            click.echo(f"adapters, by model name: {', '.join(named)}")
        click.echo(
            f"try: curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' "
            """-d '{"messages": [{"role": "user", "content": "Hello"}]}'"""
        )
        sys.stdout.flush()

    click.echo(f"loading {where} at {url}")
    sys.stdout.flush()
    run.serve(Service(settings), listener, load, drain=drain, on_ready=on_ready)
    click.echo("stopped")


def model_name(where: Path) -> str:
    """What a model is called where nobody says: the folder's name, past those that every run has."""
    parts = [part for part in where.resolve().parts if part not in ("model", "huggingface", "/")]
    if any((parent / runs.RECIPE_JSON).is_file() for parent in where.resolve().parents) and len(parts) > 1:
        return parts[-2]
    return parts[-1].removesuffix(".gguf") if parts else "phi"
