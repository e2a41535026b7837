"""From a recipe's [judge] and [attacker] to whoever answers: rules, or a model behind an endpoint."""

from collections.abc import Mapping

from phidelity.completion import Completer, HttpCompleter
from phidelity.config import UserError
from phidelity.grading.judge import rules_judge
from phidelity.pipeline.recipe import CompleterConfig


def completer(role: str, config: CompleterConfig, environment: Mapping[str, str]) -> Completer:
    """The Completer that `config` describes; a key is taken from `environment` under the name `key_env`."""
    if config.kind == "rules":
        return {"judge": rules_judge}[role](config.allow_code)
    if config.key_env and not environment.get(config.key_env):
        raise UserError(
            f"{role}.key_env names the environment variable {config.key_env}, which is not set. Set it to the key of "
            f"{config.url} and give the same command."
        )
    return HttpCompleter(config.url, config.model, environment.get(config.key_env, ""))
