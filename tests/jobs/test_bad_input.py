"""Bad input to a job is told in one line, before anything is computed, and leaves no folder behind."""

from pathlib import Path

import pytest

from retrieval.draw import main as draw
from retrieval.evaluate import main as evaluate
from retrieval.profile import main as profile
from retrieval.report import main as report
from retrieval.train import main as train
from tests.conftest import TINY_CLIP
from tests.jobs.commands import SMALL, fail


@pytest.fixture
def table(tmp_path) -> Path:
    (tmp_path / "captions.csv").write_text("video,caption,split\na.mp4,a cat,val\n")
    (tmp_path / "no_caption.csv").write_text("video,text\na.mp4,a cat\n")
    (tmp_path / "half.safetensors").write_bytes(TINY_CLIP.read_bytes()[:1000])
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=folder"], "error: data.root is missing: set data.root=<value>"),
        (["data=folder", "data.root=/nowhere"], "data.root=/nowhere"),
        (["data=folder", "data.root={table}", "data.captions=no_caption.csv"], "caption"),
        (["data=folder", "data.root={table}"], "train"),
        (["reducer=tempm"], "error: reducer=tempm: no such option; did you mean tempme? There are chain, "),
        (["reducer.merge_ration=0.4"], "error: reducer.merge_ration: no such key; did you mean reducer.merge_ratio?"),
        (["merge_ratio=0.4"], "error: merge_ratio: no such key; did you mean reducer.merge_ratio?"),
        (["reducr=tome"], "error: reducr: no such key; did you mean reducer?"),
        (["reducer.zzz=1"], "error: reducer.zzz: no such key; reducer has "),
        (["~reducer.merge_ration"], "did you mean reducer.merge_ratio?"),
        (["trainer.max_epochs=[1"], "error: "),
        (["reducer._target_=nowhere.Half"], "nowhere.Half"),
        (["reducer._target_=retrieval.reducers.Half"], "retrieval.reducers.Half"),
        (["optimizer.lr=${{nope}}"], "nope"),
        (["reducer=tempme", "data.frames=10"], "which does not divide frames=10"),
        (["backbone=custom", "backbone.source={table}/half.safetensors"], "half.safetensors: damaged"),
        (["backbone=custom", "backbone.source=ViT-Z"], "unknown backbone 'ViT-Z'"),
        (["words=99"], "words=99"),
        (["reducer=none", "tuning=frozen"], "nothing to train"),
        (["ckpt_path=nowhere.ckpt"], "ckpt_path=nowhere.ckpt: no checkpoint there"),
        (["ckpt_path=last", "name=never"], "ckpt_path=last: no checkpoint under"),
        (["ckpt_path={finished}", "reducer=tome"], "ckpt_path: the checkpoint's reducer is"),
        (["ckpt_path={finished}", "backbone.source=ViT-S-32-alt"], "ckpt_path: the checkpoint's architecture"),
        (["ckpt_path={finished}", "loss=sigmoid"], "ckpt_path: the checkpoint's loss trains [], this run's ["),
    ],
)
def test_bad_input_to_training_is_told_in_one_line(overrides, message, table, finished, place, capsys):
    names = {"table": table, "finished": finished / "checkpoints" / "best.ckpt"}
    changed = {override.split("=")[0] for override in overrides}
    small = [knob for knob in SMALL if knob.split("=")[0] not in changed and "data=folder" not in overrides]
    root = [f"data.root={place}"] if "data=folder" not in overrides else []
    output = table / "runs"
    told = fail(train, capsys, f"output={output}", *root, *small, *(text.format(**names) for text in overrides))
    assert message in told
    assert "Traceback" not in told
    assert len(told.strip().splitlines()) == 1
    assert not list(output.glob("*"))


@pytest.mark.parametrize(
    ("job", "arguments", "message"),
    [
        (evaluate, ["ckpt_path=nowhere.ckpt"], "nowhere.ckpt: no such weights file"),
        (evaluate, ["split=dev"], "dev"),
        (draw, ["video=nowhere.mp4"], "nowhere.mp4: no such file"),
        (draw, [], "video is missing: set video=<value>"),
        (profile, ["profile.reducers=[tempm]"], "tempm"),
    ],
)
def test_bad_input_to_other_jobs_is_told_in_one_line(job, arguments, message, place, tmp_path, capsys):
    output = tmp_path / "runs"
    data = [f"data.root={place}", *SMALL[1:6]] if job is evaluate else []
    told = fail(job, capsys, f"output={output}", *data, *arguments)
    assert message in told
    assert "Traceback" not in told
    assert not list(output.glob("*"))


def test_bad_input_to_the_report_is_told_in_one_line(capsys):
    assert fail(report, capsys, "/nowhere").startswith("error: /nowhere: no such folder")


def test_a_folder_that_cannot_be_written_is_told_in_one_line(place, tmp_path, capsys):
    (tmp_path / "file").touch()
    told = fail(train, capsys, f"output={tmp_path / 'file'}", "name=job", f"data.root={place}", *SMALL)
    assert f"error: {tmp_path / 'file' / 'job'}" in told
    assert "output=<folder> writes elsewhere" in told
