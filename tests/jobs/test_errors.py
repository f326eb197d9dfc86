"""A user's mistake is one line; a bug keeps its traceback, on the screen and in the run's folder."""

import sys

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from retrieval.data.decoding import VideoError
from torch.utils.data import DataLoader, Dataset

from retrieval.errors import UserError
from retrieval.jobs.errors import is_mistake, one_line
from retrieval.jobs.keys import check_missing, dotted, near
from retrieval.train import main as train
from tests.jobs.commands import call, fail, knobs

MODULES = {
    "buggy": """
from retrieval.reducers import Reducer
class Buggy(Reducer):
    def before_attention(self, tokens, block):
        first, second = (1,)
""",
    "broken": "import not_installed",
    "refusing": """
from retrieval.errors import UserError
from retrieval.reducers import Reducer
class Refusing(Reducer):
    def __init__(self):
        raise UserError("reducer.half=3, must be even")
""",
}


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Three files of a user in the current folder, which is on no path."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_bug_keeps_its_traceback_and_leaves_it_in_the_runs_folder(modules, place):
    with pytest.raises(ValueError, match="not enough values to unpack") as raised:
        call(train, *knobs(place, "buggy")[:3], *knobs(place, "")[4:], "reducer._target_=buggy.Buggy")
    assert any(entry.path.name == "buggy.py" for entry in raised.traceback)
    (folder,) = (place / "buggy").iterdir()
    written = (folder / "error.txt").read_text()
    assert "Traceback" in written
    assert 'buggy.py", line 5, in before_attention' in written


def test_a_module_that_cannot_be_imported_is_a_bug(modules, place):
    with pytest.raises(Exception, match=r"Error locating target 'broken\.Broken'"):
        call(train, *knobs(place, "broken")[:3], *knobs(place, "")[4:], "reducer._target_=broken.Broken")


def test_a_users_own_reducer_may_refuse_in_one_line(modules, place, capsys):
    target = "reducer._target_=refusing.Refusing"
    told = fail(train, capsys, *knobs(place, "refusing")[:3], *knobs(place, "")[4:], target)
    assert told.startswith("error: reducer.half=3, must be even")
    assert not (place / "refusing").exists()


class Bad(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise VideoError("a.mp4: not a readable video: 3: invalid")


def test_what_a_loaders_worker_refuses_is_one_line():
    with pytest.raises(VideoError) as raised:
        next(iter(DataLoader(Bad(), num_workers=1)))
    assert is_mistake(raised.value)
    assert one_line(raised.value) == "a.mp4: not a readable video: 3: invalid"


def test_only_a_users_mistake_is_a_mistake():
    assert is_mistake(UserError("a"))
    assert not any(is_mistake(error) for error in (ValueError("a"), OSError("a"), RuntimeError("a"), KeyError("a")))
    with pytest.raises(Exception, match="Error in call to target") as raised:
        instantiate({"_target_": "fractions.Fraction", "numerator": "a"})
    assert not is_mistake(raised.value)


def test_all_missing_values_are_named():
    config = OmegaConf.create({"run_dir": "???", "a": {"b": "???", "c": "${a.b}/x"}, "d": ["???"], "e": "${run_dir}"})
    with pytest.raises(UserError, match=r"^a\.b is missing, d\.0 is missing: set a\.b=<value> d\.0=<value>$"):
        check_missing(config)


def test_near_keys():
    known = list(dotted({"reducer": {"merge_ratio": 1, "r": 2}, "data": {"batch_size": 3, "eval_batch_size": 4}}))
    assert near("reducer.mergeratio", known) == ["reducer.merge_ratio"]
    assert near("batch_size", known) == ["data.batch_size"]
    assert near("tempme.merge_ratio", known) == ["reducer.merge_ratio"]
    assert near("xyz", known) == []
