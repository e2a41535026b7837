"""The run machinery over three small real stages: skip, resume, force, refuse, and survive kill -9."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import tree_hashes
from toy_road import STAGES, CountConfig, FitConfig, ToyRecipe, WeighConfig, toy

from phidelity.completion import SamplingParams
from phidelity.config import UserError
from phidelity.pipeline.recipe import CompleterConfig, Stage
from phidelity.pipeline.run import run
from phidelity.pipeline.status import is_locked, locked, resolve_model, seconds_so_far, status

NAMES = tuple(stage.name for stage in STAGES)


def begin(out: Path, delay: float, n: int = 20) -> subprocess.Popen:
    """Start the toy road in a process that can be killed; returns once it is loaded."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("toy_road.py")), str(out), str(delay), str(n)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.readline()
    return process


def kill(process: subprocess.Popen) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for(path: Path, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.005)


def test_a_run_leaves_manifests_and_the_recipe(tmp_path):
    manifests = run(toy(), tmp_path, text='name = "toy"\n', stages=STAGES)
    assert [manifest.stage for manifest in manifests] == ["count", "fit", "weigh"]
    assert manifests[-1].summary == {"weight": 20}
    assert (tmp_path / "recipe.toml").read_text() == 'name = "toy"\n'
    assert json.loads((tmp_path / "recipe.json").read_text())["count"]["n"] == 20
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.rglob("started.json"))
    lines = [json.loads(line) for line in (tmp_path / "timings.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["outcome"]) for line in lines] == [(name, "done") for name in NAMES[:3]]


def test_a_finished_run_is_left_untouched(tmp_path):
    run(toy(), tmp_path, stages=STAGES)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}
    run(toy(), tmp_path, stages=STAGES)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"} == before


def test_two_runs_give_the_same_hashes(tmp_path):
    run(toy(), tmp_path / "a", stages=STAGES)
    run(toy(), tmp_path / "b", stages=STAGES)
    run(toy(seed=1), tmp_path / "c", stages=STAGES)
    assert tree_hashes(tmp_path / "a") == tree_hashes(tmp_path / "b") != tree_hashes(tmp_path / "c")


def test_until_stops_after_a_stage_and_the_next_call_goes_on(tmp_path):
    assert len(run(toy(), tmp_path, stages=STAGES, until="fit")) == 2
    assert not (tmp_path / "weigh").exists()
    assert len(run(toy(), tmp_path, stages=STAGES)) == 3


def test_only_one_stage_needs_its_inputs(tmp_path):
    with pytest.raises(UserError, match="fit reads count, which is not done"):
        run(toy(), tmp_path, stages=STAGES, only="fit")
    run(toy(), tmp_path, stages=STAGES, only="count")
    run(toy(), tmp_path, stages=STAGES, only="fit")
    assert sorted(tree_hashes(tmp_path)) == ["count", "fit"]


def test_force_redoes_a_stage_and_what_depends_on_it(tmp_path):
    run(toy(), tmp_path, stages=STAGES)
    times = {name: (tmp_path / name / "manifest.json").stat().st_mtime_ns for name in NAMES[:3]}
    run(toy(), tmp_path, stages=STAGES, force=["fit"])
    redone = [name for name in times if (tmp_path / name / "manifest.json").stat().st_mtime_ns != times[name]]
    assert redone == ["fit", "weigh"]
    assert not list(tmp_path.glob("*.discarded"))


def test_a_changed_recipe_names_stage_and_keys_and_loses_nothing(tmp_path):
    run(toy(), tmp_path, stages=STAGES)
    before = tree_hashes(tmp_path)
    with pytest.raises(UserError, match=r"fit was made in .* \(fit.peak_lr: 0.1 -> 0.2\).*--out.*--force fit"):
        run(toy(fit=FitConfig(peak_lr=0.2)), tmp_path, stages=STAGES)
    assert tree_hashes(tmp_path) == before
    run(toy(fit=FitConfig(peak_lr=0.2)), tmp_path, stages=STAGES, force=["fit"])
    assert tree_hashes(tmp_path)["count"] == before["count"]
    assert tree_hashes(tmp_path)["fit"] != before["fit"]


def test_a_change_upstream_is_told_where_it_was_made(tmp_path):
    run(toy(), tmp_path, stages=STAGES)
    with pytest.raises(UserError, match=r"count was made .*count.n: 20 -> 21"):
        run(toy(count=CountConfig(n=21)), tmp_path, stages=STAGES)


def test_a_later_stage_may_change_freely_before_it_is_made(tmp_path):
    run(toy(), tmp_path, stages=STAGES, until="fit")
    manifests = run(toy(weigh=WeighConfig(scale=3)), tmp_path, stages=STAGES)
    assert manifests[-1].summary == {"weight": 60}


def test_a_recipe_changed_under_a_half_finished_stage_is_refused(tmp_path):
    process = begin(tmp_path, delay=0.2)
    wait_for(tmp_path / "count.partial" / "lines.txt")
    kill(process)
    with pytest.raises(UserError, match=r"count was begun in .*count.n: 20 -> 25.*--force count"):
        run(toy(count=CountConfig(n=25, delay=0.2)), tmp_path, stages=STAGES)
    assert (tmp_path / "count.partial" / "lines.txt").exists()
    run(toy(count=CountConfig(n=25)), tmp_path, stages=STAGES, force=["count"])
    assert len((tmp_path / "count" / "lines.txt").read_text().splitlines()) == 25


def test_a_changed_source_is_noticed(tmp_path):
    source = tmp_path / "book.txt"
    source.write_text("once upon a time")
    recipe = toy(count=CountConfig(source=str(source)))
    run(recipe, tmp_path / "out", stages=STAGES)
    source.write_text("twice upon a time")
    with pytest.raises(UserError, match=r"source .*book.txt changed"):
        run(recipe, tmp_path / "out", stages=STAGES)


def test_a_table_left_out_is_a_stage_skipped(tmp_path):
    manifests = run(ToyRecipe(name="toy", count=CountConfig()), tmp_path, stages=STAGES)
    assert [manifest.stage for manifest in manifests] == ["count"]


def test_the_judge_of_the_recipe_is_handed_over(tmp_path):
    recipe = ToyRecipe(name="toy", judge=CompleterConfig(kind="rules"), judge_it=WeighConfig())
    assert run(recipe, tmp_path, stages=STAGES)[0].summary == {"judge": "rules"}


def test_a_judge_behind_an_endpoint_is_asked_nothing_twice(endpoint, tmp_path):
    def judge_it(config, *, judge, seed, out, progress=None):
        return {"said": [one.text for one in judge.complete(["one", "two"], SamplingParams())]}

    recipe = ToyRecipe(
        name="toy", judge=CompleterConfig(kind="endpoint", url=endpoint.url, model="m"), judge_it=WeighConfig()
    )
    stages = (Stage("judge_it", judge_it, ("judge",)),)
    first = run(recipe, tmp_path, stages=stages)[0].summary
    again = run(recipe, tmp_path, stages=stages, force=("judge_it",))[0].summary
    assert (again, len(endpoint.seen)) == (first, 2)
    assert len((tmp_path / "answers" / "judge.jsonl").read_text().splitlines()) == 2


def test_an_unknown_stage_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no stage 'bake'; expected one of: count, fit, weigh"):
        run(toy(), tmp_path, stages=STAGES, force=["bake"])
    assert not list(tmp_path.iterdir())


def test_killed_at_random_moments_a_run_ends_in_the_same_bytes(tmp_path):
    run(toy(count=CountConfig(n=60, delay=0.01)), tmp_path / "unbroken", stages=STAGES)
    rng, out = random.Random("kill"), tmp_path / "killed"
    for _ in range(6):
        process = begin(out, delay=0.01, n=60)
        time.sleep(rng.uniform(0.0, 0.35))
        kill(process)
    process = begin(out, delay=0.01, n=60)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert tree_hashes(out) == tree_hashes(tmp_path / "unbroken")
    assert not list(out.glob("*.partial"))


def test_killed_between_manifest_and_rename_a_stage_is_published(tmp_path):
    run(toy(), tmp_path, stages=STAGES)
    os.rename(tmp_path / "weigh", tmp_path / "weigh.partial")
    made = (tmp_path / "weigh.partial" / "weight.json").stat().st_mtime_ns
    run(toy(), tmp_path, stages=STAGES)
    assert (tmp_path / "weigh" / "weight.json").stat().st_mtime_ns == made


def test_leftovers_of_half_written_files_do_not_become_outputs(tmp_path):
    process = begin(tmp_path, delay=0.2)
    wait_for(tmp_path / "count.partial" / "lines.txt")
    kill(process)
    (tmp_path / "count.partial" / "index.json.tmp").write_text("half")
    run(toy(count=CountConfig(delay=0.2, n=20)), tmp_path, stages=STAGES, until="count")
    assert list(tree_hashes(tmp_path)["count"]) == ["lines.txt"]


def test_a_resumed_stage_counts_the_seconds_of_earlier_tries(tmp_path):
    process = begin(tmp_path, delay=0.1)
    wait_for(tmp_path / "count.partial" / "lines.txt")
    time.sleep(1.3)
    kill(process)
    earlier = seconds_so_far(tmp_path / "count.partial")
    manifest = run(toy(count=CountConfig(delay=0.1)), tmp_path, stages=STAGES, until="count")[0]
    assert manifest.cost.seconds > earlier + 0.1 > 1.0


def test_a_truncated_output_is_found_before_anything_is_made_of_it(tmp_path):
    run(toy(), tmp_path, stages=STAGES, until="fit")
    (tmp_path / "fit" / "model" / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"model.safetensors has 0 bytes, expected 20. .*--force fit"):
        run(toy(), tmp_path, stages=STAGES)


def test_an_altered_input_is_found_before_anything_is_made_of_it(tmp_path):
    run(toy(), tmp_path, stages=STAGES, until="fit")
    (tmp_path / "fit" / "model" / "model.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(UserError, match=r"model.safetensors was altered"):
        run(toy(), tmp_path, stages=STAGES)


def test_a_folder_that_no_stage_made_is_not_touched(tmp_path):
    (tmp_path / "count").mkdir()
    (tmp_path / "count" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"count exists without a manifest.json.*Move it away"):
        run(toy(), tmp_path, stages=STAGES)
    assert (tmp_path / "count" / "notes.txt").read_text() == "mine"


def test_two_runs_in_one_folder_refuse_each_other(tmp_path):
    process = begin(tmp_path, delay=0.3)
    wait_for(tmp_path / "count.partial" / "lines.txt")
    assert is_locked(tmp_path)
    with pytest.raises(UserError, match=rf"in use by another run \(process {process.pid}\)"):
        run(toy(), tmp_path, stages=STAGES)
    kill(process)
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        pass


def test_a_file_in_the_way_of_the_run_directory_is_told(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError, match=r"Cannot write to .*runs.*use another --out"):
        run(toy(), tmp_path / "runs" / "toy", stages=STAGES)


def test_a_place_that_may_not_be_written_is_told():
    with pytest.raises(UserError, match=r"Cannot write to /proc/phidelity|Cannot write to /sys/phidelity"):
        run(toy(), Path("/sys/phidelity"), stages=STAGES)


def test_a_full_disk_is_told_with_sizes_and_the_run_goes_on_later(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        with pytest.raises(UserError, match=r"No room to write in .*the disk has .* free of .*goes on where it stood"):
            run(toy(count=CountConfig(n=200)), tmp_path, stages=STAGES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run(toy(count=CountConfig(n=200)), tmp_path, stages=STAGES)
    run(toy(count=CountConfig(n=200)), tmp_path.with_name("unbroken"), stages=STAGES)
    assert tree_hashes(tmp_path) == tree_hashes(tmp_path.with_name("unbroken"))


def test_status_tells_done_stopped_and_to_do(tmp_path):
    process = begin(tmp_path, delay=0.1)
    wait_for(tmp_path / "count.partial" / "progress.json")
    time.sleep(1.2)
    assert status(tmp_path, NAMES)[0].state == "running"
    kill(process)
    first, *rest = status(tmp_path, NAMES)
    assert (first.state, first.task) == ("stopped", "count")
    assert 0 < first.fraction < 1
    assert 0 < first.seconds_left < 3
    assert [stage.state for stage in rest] == ["to do", "to do"]
    run(toy(count=CountConfig(delay=0.1)), tmp_path, stages=STAGES)
    assert [stage.state for stage in status(tmp_path, NAMES)] == ["done"] * 3
    assert status(tmp_path, NAMES)[1].size > 0


def test_a_model_is_found_in_a_run_a_stage_or_a_folder(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        resolve_model(tmp_path / "nowhere", NAMES)
    with pytest.raises(UserError, match="holds no model: found nothing"):
        resolve_model(tmp_path, NAMES)
    run(toy(), tmp_path, stages=STAGES, until="count")
    with pytest.raises(UserError, match="no finished model yet"):
        resolve_model(tmp_path, NAMES)
    run(toy(), tmp_path, stages=STAGES)
    checkpoint = tmp_path / "fit" / "model"
    assert resolve_model(tmp_path, NAMES) == checkpoint
    assert resolve_model(tmp_path / "fit", NAMES) == checkpoint
    assert resolve_model(checkpoint, NAMES) == checkpoint


def test_a_stage_that_refused_its_settings_needs_no_force_for_corrected_ones(tmp_path):
    wrong, right = (toy(picky=CountConfig(n=n)) for n in (13, 20))
    for _ in range(2):
        with pytest.raises(UserError, match="13 were asked for; expected another number"):
            run(wrong, tmp_path, stages=STAGES)
    assert (tmp_path / "picky.partial" / "work.txt").read_text() == "2 tries", "the same settings go on"
    run(right, tmp_path, stages=STAGES)
    assert (tmp_path / "picky" / "work.txt").read_text() == "1 tries", "others begin anew"
    assert not (tmp_path / "picky" / "refused").exists()
    with pytest.raises(UserError, match="picky was made in"):
        run(wrong, tmp_path, stages=STAGES)


def test_a_stage_that_was_interrupted_from_outside_stays_bound_to_its_settings(tmp_path):
    with pytest.raises(UserError, match="The same command goes on"):
        run(toy(picky=CountConfig(n=14)), tmp_path, stages=STAGES)
    with pytest.raises(UserError, match=r"picky was begun in .*picky.n: 14 -> 20.*--force picky"):
        run(toy(picky=CountConfig(n=20)), tmp_path, stages=STAGES)
