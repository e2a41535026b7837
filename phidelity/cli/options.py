"""What several commands take: kinds of argument, and the options that mean the same everywhere."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path, dir_okay=False)
ANY = click.Path(path_type=Path)

out_option = click.option("--out", type=ANY, help="Run directory [default: runs/<name of the recipe>].")
set_option = click.option("--set", "assignments", multiple=True, metavar="A.B=C", help="Override a key of the recipe.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
