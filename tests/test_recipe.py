"""Recipes: those that are packaged, what fits together, and what is refused at load time."""

import inspect
from pathlib import Path

import pytest

import phidelity.pipeline.recipe as recipes
from phidelity.config import Config, UserError, override, parse, read_toml
from phidelity.pipeline.manifest import ROAD
from phidelity.pipeline.recipe import (
    STAGES,
    TABLES,
    CompleterConfig,
    Recipe,
    check,
    find_recipe,
    load_recipe,
    present,
    reads_of,
)
from phidelity.train.family import member
from phidelity.train.plan import plan

PACKAGED = sorted(path.stem for path in Path(recipes.phidelity.recipes.__path__[0]).glob("*.toml"))


def mistakes(*assignments: str, without: tuple[str, ...] = ()) -> list[str]:
    data = override(read_toml(find_recipe("minute")), assignments)
    return check(parse(Recipe, {key: value for key, value in data.items() if key not in without}, "minute"), STAGES)


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_recipe_loads(name):
    loaded = load_recipe(name)
    assert loaded.recipe.name == name
    assert loaded.text.startswith("#")
    assert loaded.recipe.title
    assert loaded.recipe.description


def test_the_road_has_one_name_in_four_places():
    assert tuple(stage.name for stage in STAGES) == tuple(ROAD)
    for stage in STAGES:
        assert stage.function.__name__ == stage.name
        assert stage.function.__module__ == f"phidelity.pipeline.{stage.name}"
        assert stage.name in Recipe.model_fields


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_the_table_fills_every_keyword_of_a_stage(stage):
    parameters = inspect.signature(stage.function).parameters
    config, *keywords = parameters
    assert config == "config"
    assert issubclass(parameters["config"].annotation, Config)
    required = {name for name in keywords if parameters[name].default is inspect.Parameter.empty}
    may_be_absent = {"crew", "teacher", "open_model", *stage.optional} & {*keywords}
    assert required | may_be_absent == {*stage.reads, "seed", "out"}
    assert "progress" in keywords


def test_a_model_comes_from_the_nearest_stage_that_makes_one():
    here = present(load_recipe("tiny").recipe, STAGES)
    names = [stage.name for stage in here]
    before = here[: names.index("judged_pairs")]
    reads = reads_of(here[names.index("judged_pairs")], before)
    assert reads["model"] == ("pivotal_dpo",)
    assert reads["models"] == ("pretrain", "midtrain", "sft", "pivotal_dpo")
    assert not TABLES.keys() & reads.keys()


def test_leaving_out_a_round_hands_on_the_model_before():
    data = read_toml(find_recipe("tiny"))
    shorter = parse(Recipe, {key: value for key, value in data.items() if not key.startswith("pivotal")}, "tiny")
    here = present(shorter, STAGES)
    judged = next(stage for stage in here if stage.name == "judged_pairs")
    assert reads_of(judged, here[: here.index(judged)])["model"] == ("sft",)


def test_a_stage_whose_inputs_are_missing_is_refused():
    assert mistakes(without=("tokenizer",)) == [
        "shards reads [tokenizer], which the recipe lacks. Add it, or leave out [shards].",
        "pretrain reads [tokenizer], which the recipe lacks. Add it, or leave out [pretrain].",
    ]


def test_a_stage_without_a_model_before_it_is_refused():
    found = mistakes("evaluate.models=[]", without=("pretrain", "midtrain", "model"))
    assert "sft reads a model of an earlier stage, which the recipe lacks. Add it, or leave out [sft]." in found


def test_a_judge_that_is_not_there_is_asked_for():
    assert "judged_pairs needs the table [judge], which the recipe lacks. Add it." in mistakes(without=("judge",))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("pretrain.tokens=100", "pretrain.tokens 100 makes no step of batch_tokens"),
        ("pretrain.batch_tokens=64", "pretrain.batch_tokens 64 holds no row of context_len 128"),
        ("midtrain.context_len=1024", "midtrain.context_len 1024 exceeds model.context_len 512"),
        ("midtrain.context_len=64", "midtrain.context_len 64 is shorter than the 128 of the stage before"),
        ("sft.context_len=1024", "sft.context_len 1024 exceeds the 512 that the model was trained to"),
        ("tokenizer.vocab_size=4096", "tokenizer.vocab_size 4096 exceeds the 1024 rows of model.vocab_size"),
        ("pretrain.shares={web=0.5}", "pretrain.shares: Mixture shares sum to 0.5"),
        ("evaluate.models=['sfd']", "evaluate.models names 'sfd', which makes no model in this recipe"),
        ("judged_pairs.older=['corpus']", "judged_pairs.older names 'corpus', which makes no model"),
    ],
)
def test_numbers_that_do_not_fit_together_are_named(assignment, message):
    assert message in " ".join(mistakes(assignment))


def test_small_follows_the_family_s_rule_and_is_planned():
    recipe = load_recipe("small").recipe
    model, peak_lr = member(recipe.model.d_model, vocab_size=recipe.model.vocab_size, context_len=1024)
    assert recipe.model.model_copy(update={"init_std": model.init_std}) == model
    assert recipe.model.init_std == pytest.approx(model.init_std, abs=1e-3)
    assert recipe.pretrain.optim.peak_lr == pytest.approx(peak_lr)
    facts = plan(recipe.model, tokens=recipe.pretrain.tokens, context_len=256, batch_tokens=2048)
    assert facts["training_flop"] / 100e9 < 45 * 60, "at 100 GFLOP/s of two cores"


def test_the_packaged_recipes_have_no_mistakes():
    assert mistakes() == []


def test_a_recipe_is_found_by_path_or_packaged_name(tmp_path):
    assert find_recipe("tiny").name == "tiny.toml"
    mine = tmp_path / "mine.toml"
    mine.write_text(find_recipe("tiny").read_text())
    assert find_recipe(str(mine)) == mine
    with pytest.raises(UserError, match=r"No recipe 'tyni'. Give a path to a .toml file or one of: .*tiny"):
        find_recipe("tyni")
    with pytest.raises(UserError, match=r"one of: .*tiny.* For a folder of documents: phi run corpus --set "):
        find_recipe(str(tmp_path))
    with pytest.raises(UserError, match=r"No recipe at .*gone.toml"):
        load_recipe(str(tmp_path / "gone.toml"))


def test_set_overrides_one_key_and_leaves_the_text_as_written():
    loaded = load_recipe("tiny", ["seed=7", "sft.optim.peak_lr=2e-6"])
    assert loaded.recipe.seed == 7
    assert loaded.recipe.sft.optim.peak_lr == 2e-6
    assert loaded.text == find_recipe("tiny").read_text()


def test_an_endpoint_needs_url_and_model():
    with pytest.raises(UserError, match=r"judge: .*needs both url and model"):
        parse(Recipe, {"name": "x", "judge": {"kind": "endpoint", "url": "http://localhost"}}, "x")
    with pytest.raises(UserError, match=r"judge: .*asks no endpoint"):
        parse(Recipe, {"name": "x", "judge": {"kind": "rules", "model": "phi"}}, "x")
    assert CompleterConfig(kind="endpoint", url="http://localhost", model="phi").key_env == ""
