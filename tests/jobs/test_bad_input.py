"""Bad input to a job is told in one line, before anything is computed."""

from pathlib import Path

import pytest

from retrieval.draw import main as draw
from retrieval.evaluate import main as evaluate
from retrieval.train import main as train
from tests.conftest import TINY_CLIP
from tests.jobs.commands import SMALL, fail


@pytest.fixture
def table(tmp_path) -> Path:
    (tmp_path / "captions.csv").write_text("video,caption,split\na.mp4,a cat,val\n")
    (tmp_path / "no_caption.csv").write_text("video,text\na.mp4,a cat\n")
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=folder", "data.root=/nowhere"], "data.root=/nowhere"),
        (["data=folder", "data.root={table}", "data.captions=no_caption.csv"], "caption"),
        (["data=folder", "data.root={table}"], "train"),
        (["reducer=unknown"], "unknown"),
        (["reducer=tempme", "data.frames=10"], "which does not divide frames=10"),
        (["backbone=custom", "backbone.source={table}/half.safetensors"], "half.safetensors: damaged"),
        (["backbone=custom", "backbone.source=ViT-Z"], "unknown backbone 'ViT-Z'"),
        (["data.batch_size=4000"], "data.batch_size=4000"),
        (["words=99"], "words=99"),
        (["tuning=frozen"], "nothing to train"),
        (["ckpt_path=nowhere.ckpt"], "ckpt_path=nowhere.ckpt: no checkpoint there"),
        (["ckpt_path=last", "name=never"], "ckpt_path=last: no checkpoint under"),
        (["ckpt_path={finished}"], "ckpt_path: the checkpoint's reducer is"),
        (
            ["ckpt_path={finished}", "reducer=tempme", "backbone.source=ViT-S-32-alt"],
            "ckpt_path: the checkpoint's architecture",
        ),
    ],
)
def test_bad_input_to_training_is_told_in_one_line(overrides, message, table, finished, place, monkeypatch, capsys):
    (table / "half.safetensors").write_bytes(TINY_CLIP.read_bytes()[:1000])
    names = {"table": table, "finished": finished / "checkpoints" / "best.ckpt"}
    small = [] if "data=folder" in overrides else [f"data.root={place}", *SMALL[1:]]
    small = [knob for knob in small if knob.split("=")[0] not in {override.split("=")[0] for override in overrides}]
    told = fail(train, monkeypatch, capsys, f"output={table}", *small, *(text.format(**names) for text in overrides))
    assert message in told
    assert "Traceback" not in told
    assert len([line for line in told.splitlines() if "error" in line]) <= 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["ckpt_path=nowhere.ckpt"], "nowhere.ckpt: no such weights file"),
        (["split=dev"], "dev"),
    ],
)
def test_bad_input_to_evaluation_is_told_in_one_line(overrides, message, place, monkeypatch, capsys):
    told = fail(evaluate, monkeypatch, capsys, f"output={place}", f"data.root={place}", *SMALL[1:6], *overrides)
    assert message in told
    assert "Traceback" not in told


def test_bad_input_to_drawing_is_told_in_one_line(place, monkeypatch, capsys):
    assert "nowhere.mp4: no such file" in fail(draw, monkeypatch, capsys, f"output={place}", "video=nowhere.mp4")
