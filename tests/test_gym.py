"""reasoning-gym as an optional source: never what derives from evaluation sets, and one line where it is missing."""

import importlib.util

import pytest

from phidelity.config import UserError
from phidelity.synthetic.gym import FROM_EVALUATIONS, gym, tasks
from phidelity.synthetic.seeds import Bank

HERE = importlib.util.find_spec("reasoning_gym") is not None


@pytest.mark.skipif(HERE, reason="reasoning-gym is installed")
def test_without_the_package_one_line_says_what_to_do():
    assert list(gym(Bank(0), 0)) == []
    with pytest.raises(UserError, match=r"Install phidelity\[gym\]"):
        list(gym(Bank(0), 1))


@pytest.mark.skipif(not HERE, reason="reasoning-gym is not installed")
@pytest.mark.filterwarnings("ignore")
def test_problems_come_from_many_tasks_and_none_from_an_evaluation_set():
    made = list(gym(Bank(0), 2 * len(tasks())))
    assert [one.model_dump_json() for one in gym(Bank(0), 2 * len(tasks()))] == [one.model_dump_json() for one in made]
    families = {one.meta["family"].removeprefix("gym/") for one in made}
    assert len(families) > 50
    assert not families & FROM_EVALUATIONS
