"""The `phi` command: one verb per stage of the road, and those that look at what a run has made.

Exit status 0 is done, 1 is failed with one clear line on standard error, 2 is wrong usage. `--json` prints one JSON
object on standard output and nothing else there. Whatever needs torch is imported inside the command that needs
it, so that help and status answer at once.
"""

import errno
import os
from importlib.metadata import version
from typing import Any

import click

from phidelity.cli import chat, check, checkpoint, finetune, model, redteam, road, scores, serve, study, tools
from phidelity.config import UserError
from phidelity.pipeline.manifest import ROAD

# Threads that wait sleep soon instead of spinning: measured up to 1.8 times as fast (docs/log.md). It is
# read when torch is loaded, which no command has done yet.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

COMMANDS = (
    road.run, road.status, road.plan, study.study,
    checkpoint.inspect, check.check, checkpoint.convert,
    model.generate, chat.chat, serve.serve,
    scores.evaluate, scores.grade, scores.compare, scores.import_prompts, redteam.redteam,
    finetune.finetune,
    tools.data, tools.bench,
)  # fmt: skip
"""Every verb that is no stage; a new one is a function in one of the files beside this and a name here."""


class _Phi(click.Group):
    """Lists the stages in order, and turns mistakes a person can mend into one line and exit status 1."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        others = [(name, self.commands[name]) for name in sorted(self.commands.keys() - ROAD.keys())]
        stages = [(name, self.commands[name]) for name in ROAD]
        for title, commands in (("Commands", others), ("Stages, in order", stages)):
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(70)) for name, command in commands])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise _Failure(str(error)) from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                where = f" at {error.filename}" if error.filename else ""
                raise _Failure(f"The disk is full{where}: {error.strerror}. Free some and start again.") from None
            if error.filename is None:
                raise
            raise _Failure(f"Cannot read or write {error.filename}: {error.strerror}. Check path and rights.") from None


class _Failure(click.ClickException):
    """Shown as `phi: ...`; exit status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"phi: {self.message}", err=True, file=file)


@click.group(
    cls=_Phi,
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[*COMMANDS, *map(road.stage_command, ROAD)],
)
@click.version_option(version("phidelity"), prog_name="phi")
def main() -> None:
    """phi-4 as one program: from raw documents to a model you can chat with."""


if __name__ == "__main__":
    main()
