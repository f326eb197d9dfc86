"""Results are written, read and told; the log goes to the screen and into the run's folder alike."""

import json
import logging
import warnings

import pytest

from retrieval.errors import UserError
from retrieval.jobs.announcing import announce
from retrieval.jobs.logs import log_to_file, log_to_screen
from retrieval.jobs.results import COLUMNS, Results

PLAIN = {f"test/{way}/{column}": 12.34567 for way in ("t2v", "v2t") for column in COLUMNS}
RESCORED = {f"test/qb_norm/t2v/{column}": 50.0 for column in COLUMNS}
FACTS = {
    "split": "test",
    "data": "msrvtt",
    "backbone": "ViT-B-32-quickgelu/openai",
    "reducer": "tempme",
    "head": "mean",
    "frames": 12,
    "words": 32,
    "checkpoint": "best val/both/r_sum (epoch 3)" + "!" * 200,
    "selected_on": "val",
    "seed": 0,
    "cost": {"parameters": 1234567, "video_gmacs": 0.5},
}


@pytest.fixture
def results() -> Results:
    counts = {"test/videos": 8.0, "test/captions": 24.0}
    return Results.measured(PLAIN | RESCORED | counts, trained_parameters=4321, **FACTS)


def test_results_are_read_as_they_were_written(results, tmp_path):
    results.write(tmp_path)
    assert Results.read(tmp_path / "metrics.json") == results
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert (written["videos"], written["captions"], written["trained_parameters"]) == (8, 24, 4321)
    assert written["metrics"]["t2v/r_at_1"] == 12.3457


def test_an_evaluation_tells_that_nothing_was_chosen(results, tmp_path):
    evaluated = Results(**{**vars(results), "selected_on": None, "trained_parameters": None})
    evaluated.write(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["selected_on"] is None
    assert Results.read(tmp_path / "metrics.json") == evaluated


@pytest.mark.parametrize("text", [None, "", "[", "[1]", '{"split": "test"}'])
def test_other_files_are_no_results(text, tmp_path):
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json: not a job's results"):
        Results.read(tmp_path / "metrics.json")


def test_all_facts_are_told_and_nothing_is_cut(results, capsys):
    with log_to_screen():
        results.show()
    printed = capsys.readouterr().out
    for fact in ("test, 8 videos, 24 captions", *(str(FACTS[name]) for name in list(FACTS)[:8]), "chosen on val"):
        assert fact in printed
    assert "1,234,567 parameters, 0.5 video gmacs" in printed
    assert "rescored by qb_norm" in printed
    assert printed.count("text to video") == 2
    assert printed.count("video to text") == 1


def test_screen_and_file_tell_the_same(tmp_path, capsys):
    with log_to_screen():
        log_to_file(tmp_path / "train.log")
        announce({"device": "cpu", "run folder": "runs/a"})
        logging.getLogger("some.library").info("chatter")
        logging.getLogger("some.library").warning("a warning of a library")
        warnings.warn("a warning of Python", UserWarning, stacklevel=1)
        warnings.warn("will go away", FutureWarning, stacklevel=1)
        warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated, use …", FutureWarning, stacklevel=1)
    printed, written = capsys.readouterr().out, (tmp_path / "train.log").read_text()
    assert printed.splitlines()[:2] == ["device:     cpu", "run folder: runs/a"]
    for text in ("device:     cpu", "a warning of a library", "a warning of Python", "will go away"):
        assert printed.count(text) == written.count(text) == 1
    assert "warning: a warning of Python" in printed
    for text in ("chatter", "LeafSpec"):
        assert text not in printed + written


def test_the_log_leaves_all_as_it_was(tmp_path):
    root = logging.getLogger()
    before = root.handlers[:], root.level, warnings.showwarning
    with log_to_screen("job"), log_to_screen():
        log_to_file(tmp_path / "a.log")
    assert (root.handlers[:], root.level, warnings.showwarning) == before


def test_jobs_side_by_side_tell_their_names(capsys):
    with log_to_screen(), log_to_screen("seed-0"):
        announce({"a": "1", "b": "2"})
    assert capsys.readouterr().out.splitlines() == ["seed-0: a: 1", "seed-0: b: 2"]
