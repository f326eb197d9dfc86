"""Each of the five sets trains and evaluates end to end on a miniature in its on-disk layout."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.evaluate import main as evaluate
from retrieval.prepare import main as prepare
from retrieval.train import main as train
from tests.jobs.commands import call
from tests.miniatures import MINIATURES, MSVD_CAPTIONS, TEST, TRAIN, VAL

SMALL = ["data.frames=2", "data.batch_size=4", "data.num_workers=0", "words=32", "trainer.accelerator=cpu"]
TRAINING = ["trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
QUICK = "lsmdc"
SETS = [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MINIATURES]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Callable[[str], Path]:
    """A function from a set's name to its miniature, written once."""
    folder = tmp_path_factory.mktemp("sets")

    def write(name: str) -> Path:
        if not (folder / name).is_dir():
            (folder / name).mkdir()
            MINIATURES[name](folder / name)
        return folder / name

    return write


@pytest.fixture
def run(tmp_path, root):
    """A function that runs a job in this process and returns its folder and what it wrote into metrics.json."""

    def execute(job, name: str, *overrides: str) -> tuple[Path, dict]:
        place = [] if any(each.startswith("data.root=") for each in overrides) else [f"data.root={root(name)}"]
        before = set(tmp_path.glob("runs/*/*"))
        call(job, f"data={name}", *place, f"output={tmp_path / 'runs'}", *SMALL, *overrides)
        (folder,) = set(tmp_path.glob("runs/*/*")) - before
        return folder, json.loads((folder / "metrics.json").read_text())

    return execute


@pytest.mark.parametrize("name", SETS)
def test_a_set_trains_and_evaluates(name, run):
    folder, results = run(train, name, *TRAINING)
    assert results["protocol"]["split"] == "test"
    assert results["protocol"]["frames"] == 2
    assert results["protocol"]["videos"] == TEST
    assert results["protocol"]["captions"] == (sum(MSVD_CAPTIONS) if name == "msvd" else TEST)
    assert results["metrics"]["videos_without_caption"] == results["metrics"]["captions_without_video"] == 0
    held_out = f"1 of {TRAIN} training videos, held out with seed 0"
    assert results["protocol"]["training"]["selected_on"] == (held_out if name in ("msrvtt", "activitynet") else "val")
    recall = results["metrics"]["t2v/r_at_1"] * results["protocol"]["captions"] / 100
    assert recall == pytest.approx(round(recall), abs=1e-3)  # of that many captions
    sets = results["metrics"]["v2t/r_at_1"] * TEST / 100
    assert sets == pytest.approx(round(sets), abs=1e-3)  # of the videos' caption sets

    _, again = run(evaluate, name, f"ckpt_path={folder / 'checkpoints' / 'best.ckpt'}")
    assert again["metrics"] == results["metrics"]
    assert again["protocol"]["training"] == results["protocol"]["training"]


@pytest.mark.slow
def test_selection_on_test_is_written_into_the_results(run, capsys):
    folder, results = run(train, "msrvtt", "data.validate_on_test=true", *TRAINING)
    assert results["protocol"]["training"]["selected_on"] == "test"
    assert re.search(r"chosen: +by val/both/r_sum on test", capsys.readouterr().out)
    _, again = run(evaluate, "msrvtt", f"ckpt_path={folder / 'checkpoints' / 'best.ckpt'}")
    assert again["protocol"]["training"]["selected_on"] == "test"
    assert run(evaluate, "msrvtt")[1]["protocol"]["training"] is None


@pytest.mark.slow
def test_qb_norm_is_labelled_beside_the_plain_metrics(run, capsys):
    folder, results = run(train, "msvd", "metrics.rescoring=qb_norm", "data.bank_size=100", *TRAINING)
    assert "rescored by qb_norm" in capsys.readouterr().out
    rescored = {name for name in results["metrics"] if name.startswith("qb_norm/")}
    assert {name.removeprefix("qb_norm/") for name in rescored} == {n for n in results["metrics"] if n[:4] == "t2v/"}
    assert results["protocol"]["captions"] == sum(MSVD_CAPTIONS)
    checkpoint = f"ckpt_path={folder / 'checkpoints' / 'best.ckpt'}"
    _, again = run(evaluate, "msvd", "metrics.rescoring=qb_norm", "data.bank_size=100", checkpoint)
    assert again["metrics"] == results["metrics"]
    plain = {name: value for name, value in results["metrics"].items() if name not in rescored}
    assert run(evaluate, "msvd", checkpoint)[1]["metrics"] == plain


def test_a_rescoring_that_cannot_be_is_one_line(run, tmp_path):
    (tmp_path / "captions.csv").write_text("video,caption\na.mp4,a cat\n")
    (tmp_path / "a.mp4").touch()  # no video: whoever starts to encode will say so
    with pytest.raises(
        SystemExit, match=r"^error: .* query bank of training captions: .* no rows for the split 'train'"
    ):
        run(evaluate, "folder", f"data.root={tmp_path}", "metrics.rescoring=qb_norm")
    with pytest.raises(SystemExit, match=r"^error: rescoring='qb' is unknown: choose null or one of"):
        run(evaluate, "folder", f"data.root={tmp_path}", "metrics.rescoring=qb")


@pytest.mark.slow
def test_the_official_split_of_msrvtt_ranks_all_captions(run):
    results = run(evaluate, "msrvtt", "data.corpus.partition=full")[1]
    assert (results["protocol"]["videos"], results["protocol"]["captions"]) == (TEST, 20 * TEST)


@pytest.mark.slow
def test_prepared_frames_train_and_evaluate(tmp_path, run, capsys):
    MINIATURES["msvd"](tmp_path)
    (gone, *_) = sorted((tmp_path / "MSVD_Videos").iterdir())
    gone.rename(tmp_path / "away.txt")
    preparing = ["data=msvd", f"data.root={tmp_path}", "data.frames=2", "data.num_workers=0"]
    call(prepare, *preparing, f"output={tmp_path / 'findings'}")
    (findings,) = (json.loads(path.read_text()) for path in tmp_path.glob("findings/*/*/findings.json"))
    assert findings["stored"] == findings["decoded"] == TRAIN + VAL + TEST - 1
    assert [Path(message.split(": ")[0]).stem for message in findings["missing"]] == [gone.stem]
    (log,) = (path.read_text() for path in tmp_path.glob("findings/*/*/prepare.log"))
    assert f"missing: {gone.with_suffix('.mp4').parents[1]}" in capsys.readouterr().out
    assert findings["missing"][0] in log
    (tmp_path / "away.txt").rename(gone)
    call(prepare, *preparing, f"output={tmp_path / 'findings'}")
    stored = [f"data.root={tmp_path}", "data.frames_from=store"]
    folder, results = run(train, "msvd", *stored, *TRAINING)
    assert results["protocol"]["videos"] == TEST
    checkpoint = f"ckpt_path={folder / 'checkpoints' / 'best.ckpt'}"
    assert run(evaluate, "msvd", *stored, checkpoint)[1]["metrics"] == results["metrics"]
    with pytest.raises(SystemExit, match=r"was written with .*quality=95.*, this run has .*quality=90"):
        run(evaluate, "msvd", *stored, "data.store.quality=90")
