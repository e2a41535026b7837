"""Studies over a toy road of three real stages: shared work, resuming, paired differences, verdicts, refusals."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from toy_road import STAGES, ToyRecipe

import phidelity.studies
from phidelity.config import UserError, parse
from phidelity.pipeline.contrast import Items, contrast, one_item, read_items
from phidelity.pipeline.manifest import read_manifest
from phidelity.pipeline.recipe import STAGES as ROAD
from phidelity.pipeline.recipe import Recipe
from phidelity.pipeline.study import _recipes, run_study, scores
from phidelity.pipeline.study_file import ClaimConfig, load_study
from phidelity.pipeline.verdict import expectation, results, shown, verdict, write_results
from phidelity.statistics import detectable_over_seeds, expanded_level, student_quantile

RECIPE = 'name = "toy"\n[count]\nn = 20\n[fit]\n[weigh]\n'
STUDY = """
name = "toy-study"
title = "Toys"
question = "Does the scale decide?"
registered = "this file"
recipe = "toy.toml"
seeds = [1, 2]
seeded_from = "fit"
shared = ["count", "fit"]
baseline = "light"

[variants.light]
[variants.heavy]
set = ["weigh.scale=3"]

[measures.weight]
title = "weight"
unit = "bytes"
numbers = ["weigh/weight"]
spread = 1.5

[[claims]]
says = "heavy is heavier by more than 30"
measure = "weight"
variant = "heavy"
against = "light"
above = 30.0
"""

_FEW = "mmlu = 3\nmath = 3\ngpqa = 3\ndrop = 3\nmgsm = 3\nhumaneval = 3\nsimpleqa = 3\ndevelopment = 8\n"
_DRAWN = """
name = "drawn-study"
registered = "this file"
recipe = "drawn.toml"
seeds = [0, 1]
baseline = "few"
[variants.few]
[variants.more]
set = ["benchmarks.math=12"]
[measures.problems]
title = "problems"
numbers = ["benchmarks/problems/math"]
[[claims]]
says = "there are more"
measure = "problems"
variant = "more"
against = "few"
above = 8.0
"""


def study_in(folder: Path, text: str = STUDY):
    (folder / "toy.toml").write_text(RECIPE)
    (folder / "study.toml").write_text(text)
    return load_study(str(folder / "study.toml"))


def walk(loaded, out, **more):
    return list(run_study(loaded, out, cls=ToyRecipe, stages=STAGES, **more))


def test_shared_stages_are_made_once_and_linked(tmp_path):
    loaded, out = study_in(tmp_path), tmp_path / "out"
    walk(loaded, out)
    counts = sorted(out.glob("*/seed-*/count"))
    assert len(counts) == 4
    assert [folder.is_symlink() for folder in counts] == [True, True, False, True]
    assert len({read_manifest(folder).fingerprint for folder in counts}) == 1
    fits = sorted(out.glob("*/seed-*/fit"))
    assert [folder.is_symlink() for folder in fits] == [True, True, False, False], "fit varies with the seed"
    assert read_manifest(out / "light/seed-2/fit").ingredients.seed == 2
    assert read_manifest(out / "light/seed-2/count").ingredients.seed == 0


def test_a_study_ends_in_one_table_with_a_verdict_and_moves_with_its_folder(tmp_path):
    loaded, out = study_in(tmp_path), tmp_path / "out"
    walk(loaded, out)
    out = out.rename(tmp_path / "moved")
    told = write_results(loaded, out)
    assert told["whole"]
    assert told["table"]["heavy"]["weight"]["mean"] == 60
    assert told["differences"][0]["mean"] == 40
    assert told["claims"][0]["verdict"] == "holds"
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(told))
    page = (out / "study.html").read_text()
    assert "✓ holds" in page
    assert "heavy is heavier by more than 30" in page


def test_nothing_is_decided_before_all_seeds_and_a_stopped_study_goes_on(tmp_path):
    loaded, out = study_in(tmp_path), tmp_path / "out"
    work = run_study(loaded, out, cls=ToyRecipe, stages=STAGES)
    first = [next(work) for _ in range(3)]
    work.close()
    assert [(arm.variant, arm.seed) for arm in first] == [("light", 1), ("heavy", 1), ("light", 2)]
    half = write_results(loaded, out)
    assert (half["done"], half["claims"][0]["verdict"]) == (3, None)
    assert "so nothing is decided" in (out / "study.html").read_text()
    before = (out / "light/seed-1/weigh/manifest.json").stat().st_mtime_ns
    walk(loaded, out)
    assert (out / "light/seed-1/weigh/manifest.json").stat().st_mtime_ns == before
    assert results(loaded.study, out)["claims"][0]["verdict"] == "holds"


def test_what_is_claimed_cannot_be_changed_after_the_start(tmp_path):
    out = tmp_path / "out"
    walk(study_in(tmp_path), out)
    later = study_in(tmp_path, STUDY.replace("above = 30.0", "above = 10.0"))
    with pytest.raises(UserError, match="begun with another study: claims changed"):
        walk(later, out)
    walk(study_in(tmp_path, STUDY.replace('title = "Toys"', 'title = "Better words"')), out)


def test_stages_that_are_said_to_be_shared_must_be(tmp_path):
    loaded = study_in(tmp_path, STUDY.replace('"weigh.scale=3"', '"fit.peak_lr=3.0"'))
    with pytest.raises(UserError, match="fit is said to be shared, but light and heavy"):
        walk(loaded, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "refused before anything is touched"


def test_a_common_stage_is_taken_from_one_variant(tmp_path):
    text = STUDY.replace("weigh.scale=3", "count.n=10").replace('shared = ["count", "fit"]', 'common = {fit = "heavy"}')
    loaded, out = study_in(tmp_path, text), tmp_path / "out"
    assert [arm.variant for arm in walk(loaded, out)] == ["heavy", "light"] * 2, "who provides comes first"
    assert (out / "light/seed-1/fit").is_symlink()
    assert scores(walk(loaded, out)[1])["fit/loss"] == 0.1, "learnt from heavy's ten lines"
    assert read_manifest(out / "light/seed-1/count").summary["n"] == 20


def test_a_function_of_the_project_is_an_arm(tmp_path):
    def drawn(seed, out, progress, chance):
        rng = random.Random(seed)
        return {"right": [float(rng.random() < chance) for _ in range(400)], "cost": chance}

    text = STUDY.split("[variants.light]")[0].replace('recipe = "toy.toml"', "").replace('seeded_from = "fit"', "")
    text = text.replace('shared = ["count", "fit"]', "") + (
        '[variants.light]\nfunction = "drawn"\noptions = { chance = 0.2 }\n'
        '[variants.heavy]\nfunction = "drawn"\noptions = { chance = 0.6 }\n'
        '[measures.right]\ntitle = "right"\nnumbers = ["right"]\n'
        '[[claims]]\nsays = "more"\nmeasure = "right"\nvariant = "heavy"\nagainst = "light"\nabove = 0.2\n'
        '[[claims]]\nsays = "at least half"\nmeasure = "right"\nvariant = "heavy"\nabove = 0.5\n'
    )
    loaded, out = study_in(tmp_path, text), tmp_path / "out"
    walk(loaded, out, functions={"drawn": drawn})
    told = write_results(loaded, out)
    assert told["differences"][0]["items"] == 400
    assert told["claims"][0]["verdict"] == "holds"
    assert abs(told["claims"][1]["mean"] - 0.6) < 0.06
    with pytest.raises(UserError, match="names the function 'drawn'; expected one of: breakfix, pivotal"):
        walk(study_in(tmp_path, text), tmp_path / "other")


def test_before_the_start_it_says_what_it_can_find_and_how_long_it_takes(tmp_path):
    loaded = study_in(tmp_path, STUDY.replace('baseline = "light"', 'baseline = "light"\nminutes = 3.0'))
    told = expectation(loaded.study, tmp_path / "out")
    assert (told["to_do"], told["minutes"]) == (4, 12.0)
    assert told["detectable"]["weight"] == pytest.approx((12.7062 + 1.3764) * 1.5 / 2**0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('variant = "heavy"', 'variant = "hevy"'), "claims names the variant 'hevy'"),
        (('baseline = "light"', 'baseline = "lite"'), "baseline names the variant 'lite'"),
        (("above = 30.0", "above = 30.0\nbelow = 1.0"), "a claim has one threshold"),
        (("seeds = [1, 2]", "seeds = [1, 1]"), "A seed occurs twice"),
        (('registered = "this file"', ""), "registered: missing"),
        (('recipe = "toy.toml"', ""), "variants override a recipe"),
    ],
)
def test_mistakes_in_a_study_are_told(tmp_path, change, message):
    with pytest.raises(UserError, match=f"(?i){message}"):
        study_in(tmp_path, STUDY.replace(*change))


def test_stages_and_recipes_that_are_not_there_are_told(tmp_path):
    with pytest.raises(UserError, match=r"names the stage 'fitt'.*expected some of: count, fit, weigh"):
        walk(study_in(tmp_path, STUDY.replace('seeded_from = "fit"', 'seeded_from = "fitt"')), tmp_path / "out")
    with pytest.raises(UserError, match=r"(?s)Variant heavy of .*scale: found .many."):
        walk(study_in(tmp_path, STUDY.replace("scale=3", "scale=many")), tmp_path / "out")
    with pytest.raises(UserError, match=r"No study 'nothing'\. Give a path to a .toml file or one of"):
        load_study("nothing")


def test_the_interval_over_five_seeds_covers_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        drawn = rng.normal(1.0, 1.0, 5)
        found = contrast({seed: [one_item(value)] for seed, value in enumerate(drawn)}, resamples=4000, seed=trial)
        covered += found.low <= 1.0 <= found.high
    assert 0.90 <= covered / 300 <= 0.99


def test_items_are_paired_and_the_same_in_all_seeds():
    rng = np.random.default_rng(1)
    hard = rng.random(200)
    before = {seed: [Items.of(hard + rng.normal(0, 0.01, 200))] for seed in range(3)}
    after = {seed: [Items.of(hard + 0.1 + rng.normal(0, 0.01, 200))] for seed in range(3)}
    paired = contrast(after, before)
    assert paired.mean == pytest.approx(0.1, abs=0.01)
    assert paired.high - paired.low < 0.02, "what the items differ by cancels"
    alone = contrast(after)
    assert alone.high - alone.low > 0.05, "but not of one variant alone"


def test_one_seed_is_covered_over_its_items_only():
    one = contrast({0: [Items.of([1.0, 2.0, 3.0, 4.0])]})
    assert one.spread is None
    assert 1 <= one.low < 2.5 < one.high <= 4
    assert contrast({0: [one_item(2.0)]}).low == -np.inf


def test_held_out_documents_weigh_by_their_bytes(tmp_path):
    rows = [{"id": "a", "bytes": 100, "bits": 300.0}, {"id": "b", "bytes": 300, "bits": 300.0}]
    (tmp_path / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_items(tmp_path, 1.5).ids == ("a", "b")
    assert read_items(tmp_path, 1.5).mean == 1.5
    assert read_items(tmp_path, 2.0).ids == ("",), "a number that its items do not give has none"


@pytest.mark.parametrize(("low", "high", "said"), [(1.1, 2, "holds"), (0, 0.9, "refuted"), (0.5, 1.5, "open")])
def test_a_verdict_takes_the_whole_interval(low, high, said):
    claim = parse(ClaimConfig, {"says": "", "measure": "m", "variant": "v", "above": 1.0}, "test")
    found = contrast({0: [one_item(1.0)], 1: [one_item(1.0)]})._replace(low=low, high=high)
    assert verdict(claim, found) == said
    other = claim.model_copy(update={"above": None, "below": 1.0})
    assert verdict(other, found) == {"holds": "refuted", "refuted": "holds", "open": "open"}[said]


@pytest.mark.parametrize(
    ("p", "df", "t"), [(0.975, 1, 12.7062), (0.975, 4, 2.7764), (0.8, 4, 0.9410), (0.975, 9, 2.2622), (0.9, 30, 1.3104)]
)
def test_students_quantiles_are_those_of_the_tables(p, df, t):
    assert student_quantile(p, df) == pytest.approx(t, abs=1e-4)


def test_few_seeds_widen_and_find_less():
    assert expanded_level(5) == pytest.approx(0.00095, abs=1e-4)
    assert expanded_level(1000) == pytest.approx(0.025, abs=2e-4)
    assert detectable_over_seeds(1.0, 1) is None
    assert detectable_over_seeds(1.0, 5) > detectable_over_seeds(1.0, 10)


def test_every_packaged_study_parses_and_its_recipes_fit():
    packaged = sorted(path.stem for path in Path(phidelity.studies.__path__[0]).glob("*.toml"))
    for name in packaged:
        loaded = load_study(name)
        assert loaded.study.name == name
        assert set(_recipes(loaded, Recipe, ROAD)) == {
            name for name, variant in loaded.study.variants.items() if not variant.function
        }


def test_the_command_runs_a_study_and_prints_one_table(tmp_path, phi):
    (tmp_path / "drawn.toml").write_text('name = "drawn"\n[benchmarks]\n' + _FEW)
    (tmp_path / "study.toml").write_text(_DRAWN)
    told = phi("study", tmp_path / "study.toml", "--out", tmp_path / "out").stdout
    assert "2 variants x 2 seeds, 4 of 4 runs to do" in told
    assert "smallest difference unknown" in told
    assert "HOLDS" in told
    again = json.loads(phi("study", tmp_path / "study.toml", "--out", tmp_path / "out", "--json").stdout)
    assert again["table"]["more"]["problems"]["mean"] == 12
    assert (tmp_path / "out" / "study.html").read_text().count("<svg") == 1


def test_numbers_are_shown_with_a_true_minus():
    assert shown(-1.234, 2) == "−1.23"
    assert shown(1.0, 1, sign=True) == "+1.0"
