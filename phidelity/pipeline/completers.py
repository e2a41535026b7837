"""From a recipe's [judge], [attacker] and [teacher] to whoever answers: rules, or a model behind an endpoint."""

from collections.abc import Mapping

from phidelity.completion import Completer, Prompt, ScriptedCompleter
from phidelity.config import UserError
from phidelity.endpoint import HttpCompleter
from phidelity.grading.harm import rules_harm_judge
from phidelity.grading.judge import read_case, rules_judge
from phidelity.pipeline.recipe import CompleterConfig
from phidelity.safety.attacks import rules_attacker
from phidelity.traffic import Budget


def completer(role: str, config: CompleterConfig, environment: Mapping[str, str]) -> Completer:
    """The Completer that `config` describes; a key is taken from `environment` under the name `key_env`."""
    if config.kind == "rules" and role == "teacher":
        raise UserError(
            '[teacher] has kind = "rules", but no rules mark documents. Set kind = "endpoint" with url and model, or '
            "leave out the table: then a proxy by kind of source marks them."
        )
    if config.kind == "rules":
        return rules_attacker() if role == "attacker" else _rules_judge(config.allow_code)
    if config.key_env and not environment.get(config.key_env):
        raise UserError(
            f"{role}.key_env names the environment variable {config.key_env}, which is not set. Set it to the key of "
            f"{config.url} and give the same command."
        )
    return HttpCompleter(
        config.url,
        config.model,
        environment.get(config.key_env, ""),
        n_parallel=config.parallel,
        timeout=config.timeout,
        prices=config.prices,
        budget=Budget(config.max_tokens, config.max_cost),
    )


def _rules_judge(allow_code: bool) -> ScriptedCompleter:
    """One judge by rules for both kinds of question: how good an answer is, and whether it does harm."""
    quality, harm = rules_judge(allow_code), rules_harm_judge()

    def reply(prompt: Prompt, occurrence: int) -> str:
        return (harm if read_case(prompt) is None else quality).reply(prompt, occurrence)

    return ScriptedCompleter(reply, name="rules")
