"""kill -9 at random moments of the whole road; the same command then ends in the same bytes."""

import os
import random
import signal
import time

from conftest import finish, phi_process, small, tree_hashes

from phidelity.pipeline.manifest import ROAD

KILLS = 6
"""How often the run is killed."""


def test_a_run_killed_at_random_moments_ends_in_the_bytes_of_an_unbroken_one(small_run, tmp_path):
    rng, out, lived = random.Random("kill"), tmp_path / "run", []
    for _ in range(KILLS):
        process = phi_process("run", "minute", "--out", out, *small())
        assert process.stdout
        process.stdout.readline()  # the road is loaded and the first stage begins, or is told to stand
        time.sleep(rng.uniform(0.0, 4.0))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        lived.append(process.returncode != -signal.SIGKILL)
    assert not all(lived), "every try ended before it was killed"
    done = finish(phi_process("run", "minute", "--out", out, *small()))
    assert done.returncode == 0, done.stderr
    killed, unbroken = tree_hashes(out), tree_hashes(small_run)
    assert list(killed) == sorted(set(ROAD) - {"rounds"})
    assert [stage for stage in killed if killed[stage] != unbroken[stage]] == []
    assert not list(out.glob("*.partial"))


def test_two_unbroken_runs_of_one_seed_give_the_same_bytes(small_run, tmp_path):
    done = finish(phi_process("run", "minute", "--out", tmp_path / "again", *small()))
    assert done.returncode == 0, done.stderr
    assert tree_hashes(tmp_path / "again") == tree_hashes(small_run)
