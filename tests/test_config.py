"""Configuration: strict, frozen, and all mistakes at once with their path."""

import pytest
from pydantic import Field, ValidationError

from phidelity.config import Config, UserError, override, parse, read_toml


class Optim(Config):
    peak_lr: float = Field(gt=0)
    """Learning rate at its peak."""


class Stage(Config):
    optim: Optim
    n: int = Field(default=3, gt=0)
    names: tuple[str, ...] = ()


def test_a_table_is_read_with_its_defaults():
    stage = parse(Stage, {"optim": {"peak_lr": 0.1}, "names": ["a", "b"]}, "recipe")
    assert (stage.optim.peak_lr, stage.n, stage.names) == (0.1, 3, ("a", "b"))


def test_a_configuration_is_frozen_and_hashable():
    stage = Stage(optim=Optim(peak_lr=0.1))
    with pytest.raises(ValidationError):
        stage.n = 4
    assert hash(stage) == hash(Stage(optim=Optim(peak_lr=0.1)))


def test_all_mistakes_are_reported_at_once_with_their_path():
    with pytest.raises(UserError) as caught:
        parse(Stage, {"optim": {"peak_lr": -1.0, "momentum": 0.9}, "n": "three"}, "x.toml")
    message = str(caught.value)
    assert message.startswith("x.toml has 3 mistakes:")
    assert "optim.peak_lr: found -1.0. Input should be greater than 0." in message
    assert "optim.momentum: unknown key. Remove it or check its spelling" in message
    assert "n: found 'three'. Input should be a valid integer." in message


def test_a_missing_table_is_asked_for():
    with pytest.raises(UserError, match=r"optim: missing. Add it."):
        parse(Stage, {}, "x.toml")


def test_a_number_is_not_taken_for_another_type():
    for wrong in (True, 3.5, "3"):
        with pytest.raises(UserError, match="n: found"):
            parse(Stage, {"optim": {"peak_lr": 0.1}, "n": wrong}, "x.toml")


def test_the_docstring_under_a_field_describes_it():
    assert Optim.model_fields["peak_lr"].description == "Learning rate at its peak."


def test_an_override_reaches_into_nested_tables_and_copies():
    data = {"sft": {"optim": {"peak_lr": 1.0}, "epochs": 2}}
    assert override(data, ["sft.optim.peak_lr=2e-6", "sft.name=plain text", "new.key=[1, 2]"]) == {
        "sft": {"optim": {"peak_lr": 2e-6}, "epochs": 2, "name": "plain text"},
        "new": {"key": [1, 2]},
    }
    assert data == {"sft": {"optim": {"peak_lr": 1.0}, "epochs": 2}}


@pytest.mark.parametrize("assignment", ["sft.epochs", "=3", "sft.epochs.deep=3"])
def test_an_override_that_makes_no_sense_is_refused(assignment):
    with pytest.raises(UserError, match="--set"):
        override({"sft": {"epochs": 2}}, [assignment])


def test_a_recipe_that_cannot_be_read_names_the_file(tmp_path):
    with pytest.raises(UserError, match=r"No recipe at .*gone.toml"):
        read_toml(tmp_path / "gone.toml")
    (tmp_path / "torn.toml").write_text("[sft\nepochs = 2")
    with pytest.raises(UserError, match=r"torn.toml is not valid TOML: .*line 1"):
        read_toml(tmp_path / "torn.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"Cannot read .*binary.toml"):
        read_toml(tmp_path / "binary.toml")


@pytest.mark.parametrize("text", ["inf", "nan", "-inf"])
def test_numbers_that_are_not_finite_are_refused_by_path(text):
    from phidelity.pipeline.recipe import load_recipe

    with pytest.raises(UserError, match=r"model\.rope_theta"):
        load_recipe("minute", [f"model.rope_theta={text}"])


def test_a_seed_that_no_generator_takes_is_refused():
    from phidelity.pipeline.recipe import load_recipe

    with pytest.raises(UserError, match="seed"):
        load_recipe("minute", ["seed=18446744073709551616"])


def test_shares_that_are_not_numbers_are_refused():
    from phidelity.data.mixture import check_shares

    with pytest.raises(UserError, match="sum to nan"):
        check_shares({"web": float("nan")})
