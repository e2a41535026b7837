"""`phi study`: variants x seeds of a recipe, what can be detected and how long it takes beforehand, one table after."""

import json
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import click

from phidelity import terminal
from phidelity.cli.options import ANY, json_option, set_option
from phidelity.config import UserError
from phidelity.progress import SILENT


@click.command()
@click.argument("study")
@click.option("--out", type=ANY, help="Folder of the study [default: runs/<its name>].")
@set_option
@json_option
def study(study: str, out: Path | None, assignments: Sequence[str], as_json: bool) -> None:
    """Run the variants and seeds of STUDY (a file or a packaged name), compare, and judge its claims."""
    from phidelity.cli.study_table import beforehand, table
    from phidelity.pipeline.study import arms, run_study
    from phidelity.pipeline.study_file import load_study
    from phidelity.pipeline.verdict import PAGE, expectation, write_results

    loaded = load_study(study, assignments)
    where = out or Path("runs") / loaded.study.name
    if not as_json:
        click.echo(beforehand(loaded.study, expectation(loaded.study, where)))
    try:
        with nullcontext(SILENT) if as_json else terminal.watching() as progress:
            for arm in run_study(loaded, where, environment=os.environ, progress=progress):
                if arm.variant == arms(loaded.study, where)[-1].variant:  # a seed is whole
                    write_results(loaded, where)
    except KeyboardInterrupt:
        raise UserError("Stopped. Nothing is lost: the same command goes on where it stood.") from None
    told = write_results(loaded, where)
    click.echo(json.dumps(told) if as_json else f"\n{table(told)}\n\nPage: {where / PAGE}")
