"""Results are written, read and told; the log goes to the screen and into the run's folder alike."""

import json
import logging
import warnings
from dataclasses import replace

import pytest

from retrieval.errors import UserError
from retrieval.jobs.announcing import announce
from retrieval.jobs.logs import log_to_file, log_to_screen
from retrieval.jobs.protocol import Training
from retrieval.jobs.results import COLUMNS, Results

PLAIN = {f"test/{way}/{column}": 12.34567 for way in ("t2v", "v2t") for column in COLUMNS} | {"test/both/r_sum": 49.3}
RESCORED = {f"test/qb_norm/t2v/{column}": 50.0 for column in COLUMNS}
TRAINING = Training(selected_by="val/both/r_sum", selected_on="val", batch=128, accumulated=2, epochs=5, devices=4)
UNDER = {
    "split": "test",
    "frames": 12,
    "sampler": "even_frames, rate 1.0",
    "words": 32,
    "precision": "bf16-mixed",
    "devices": 1,
    "seed": 0,
    "hardware": "1 x NVIDIA H100",
    "versions": {"python": "3.12.1", "torch": "2.6.0"},
    "revision": "0123456789abcdef",
    "dirty": True,
    "training": TRAINING,
}
FACTS = {
    "data": "msrvtt",
    "backbone": "ViT-B-32-quickgelu/openai",
    "reducer": "tempme",
    "head": "mean",
    "checkpoint": "best val/both/r_sum (epoch 3)" + "!" * 200,
    "cost": {"parameters": 1234567, "video_gmacs": 0.5},
}


@pytest.fixture
def results() -> Results:
    counts = {"test/videos": 8.0, "test/captions": 24.0}
    return Results.measured(PLAIN | RESCORED | counts, UNDER, trained_parameters=4321, **FACTS)


def test_results_are_read_as_they_were_written(results, tmp_path):
    results.write(tmp_path)
    assert Results.read(tmp_path / "metrics.json") == results
    written = json.loads((tmp_path / "metrics.json").read_text())
    protocol = written["protocol"]
    assert (protocol["videos"], protocol["captions"], protocol["captions_per_video"]) == (8, 24, 3)
    assert protocol["training"]["selected_on"] == "val"
    assert written["trained_parameters"] == 4321
    assert written["metrics"]["t2v/r_at_1"] == 12.3457


def test_an_evaluation_tells_that_nothing_was_chosen(results, tmp_path):
    evaluated = replace(results, protocol=replace(results.protocol, training=None), trained_parameters=None)
    evaluated.write(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["protocol"]["training"] is None
    assert Results.read(tmp_path / "metrics.json") == evaluated


def test_results_of_an_older_version_name_the_way_out(tmp_path):
    (tmp_path / "metrics.json").write_text('{"split": "test", "metrics": {}}')
    with pytest.raises(UserError, match=r"of an older version.* retrieval\.evaluate ckpt_path="):
        Results.read(tmp_path / "metrics.json")


@pytest.mark.parametrize("text", [None, "", "[", "[1]", '{"split": "test"}', '{"protocol": [], "metrics": {}}'])
def test_other_files_are_no_results(text, tmp_path):
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json: not a job's results"):
        Results.read(tmp_path / "metrics.json")


def test_all_facts_are_told_and_nothing_is_cut(results, capsys):
    with log_to_screen():
        results.show()
    printed = capsys.readouterr().out
    for fact in (
        *(str(FACTS[name]) for name in list(FACTS)[:5]),
        "test, 8 videos, 24 captions (3 a video)",
        "12 (even_frames, rate 1.0), 32 words",
        "bf16-mixed on 1 x NVIDIA H100, seed 0",
        "by val/both/r_sum on val",
        "128 a step over 4 devices, 2 accumulated",
        "python 3.12.1, torch 2.6.0, commit 0123456789ab, changed",
        "both directions: R-Sum 49.3 (of 600)",
    ):
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
