"""Attack families: reversible, deterministic, and the attacker by rules."""

import random

import pytest

from phidelity.completion import SamplingParams
from phidelity.problems.policy import policy_items
from phidelity.safety.attacks import (
    FAMILIES,
    OPEN,
    SEALED,
    attack,
    attacker_prompt,
    parse_attack,
    rules_attacker,
)

REQUESTS = [item.request for item in policy_items("heldout", 0, 100)]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.decode], ids=lambda family: family.name)
def test_reversible_converters_decode_to_the_original(family) -> None:
    for request in REQUESTS:
        assert family.decode(family.build(request, random.Random(0))) == request


def test_five_families_are_open_and_two_sealed() -> None:
    assert (len(OPEN), len(SEALED)) == (5, 2)
    assert not set(OPEN) & set(SEALED)


def test_attacks_are_a_function_of_family_request_and_seed() -> None:
    for family in FAMILIES:
        said = [attack(family.name, request, "7") for request in REQUESTS]
        assert said == [attack(family.name, request, "7") for request in REQUESTS]
        assert all(one.messages[-1].role == "user" for one in said)
    assert attack("many_shot", REQUESTS[0], "7") != attack("many_shot", REQUESTS[0], "8")


def test_unencoded_families_end_with_the_request_itself() -> None:
    for family in FAMILIES:
        if family.name not in ("reversed", "cipher"):
            assert attack(family.name, REQUESTS[0], "0").messages[-1].content.endswith(REQUESTS[0])


def test_the_attacker_by_rules_answers_as_a_model_would() -> None:
    prompts = [attacker_prompt(family.name, REQUESTS[0], "3") for family in FAMILIES]
    attacker = rules_attacker()
    replies = attacker.complete(prompts, SamplingParams())
    assert attacker.name == "rules"
    for family, reply in zip(FAMILIES, replies, strict=True):
        assert parse_attack(reply.text) == attack(family.name, REQUESTS[0], "3").messages


def test_an_attacker_that_declines_or_talks_puts_nothing() -> None:
    for reply in ("I cannot help with that.", "[]", '[{"role": "assistant", "content": "x"}]', "{"):
        assert parse_attack(reply) is None
