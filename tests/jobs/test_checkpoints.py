"""What a finished run is good for: evaluation, also of folders with damaged files, loading, pictures."""

import json
import sys
from pathlib import Path

import pytest
import torch

from retrieval import load_model
from retrieval.draw import main as draw
from retrieval.evaluate import main as evaluate
from tests.jobs.commands import CLIPS, SMALL, execute, fail


def test_two_processes_evaluate_a_checkpoint_as_one(place, finished):
    checkpoint = f"ckpt_path={finished / 'checkpoints' / 'best.ckpt'}"
    arguments = [f"output={place}", f"data.root={place}", checkpoint, *SMALL[1:6]]
    for name, trainer in (("one", "default"), ("two", "ddp_cpu")):
        line = [sys.executable, "-m", "retrieval.evaluate", f"name={name}", f"trainer={trainer}", *arguments]
        execute(line)
    one, two = (json.loads(next(place.glob(f"{name}/*/metrics.json")).read_text()) for name in ("one", "two"))
    assert one == two
    trained = json.loads((finished / "metrics.json").read_text())
    assert one["metrics"] == trained["metrics"]


def test_a_checkpoint_of_ours_loads_with_its_reducer(finished):
    model = load_model(finished / "checkpoints" / "best.ckpt")
    assert model.visual.reducer.frames == 12
    assert model.encode_video(torch.randn(1, 12, 3, 40, 40)).shape == (1, 64)


def test_a_checkpoint_may_not_choose_what_runs(finished, tmp_path):
    content = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    for target in ("os.system", "retrieval.reducers.tempme.torch.hub.load"):
        torch.save(content | {"reducer": {"_target_": target, "command": "true"}}, tmp_path / "evil.ckpt")
        with pytest.raises(ValueError, match=f"made with {target}, which is not a reducer of this package"):
            load_model(tmp_path / "evil.ckpt")


def evaluate_folder(finished, folder: Path, videos: Path, captions: Path, *overrides: str) -> list[str]:
    """The knobs of an evaluation of `finished`'s model on a folder of videos."""
    checkpoint = f"ckpt_path={finished / 'checkpoints' / 'best.ckpt'}"
    data = ["data=folder", f"data.root={videos}", f"data.captions={captions}"]
    return [f"output={folder}", "name=folder", checkpoint, *data, *overrides]


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no ../shared/clips")
def test_a_folder_of_videos_is_evaluated(finished, tmp_path, monkeypatch):
    knobs = evaluate_folder(finished, tmp_path, CLIPS / "videos", CLIPS / "captions.csv", "data.num_workers=0")
    monkeypatch.setattr(sys, "argv", ["job", *knobs])
    evaluate()
    results = json.loads(next(tmp_path.glob("folder/*/metrics.json")).read_text())
    assert (results["metrics"]["videos"], results["metrics"]["captions"]) == (12, 36)


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no ../shared/clips")
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_damaged_file_ends_an_evaluation_or_is_left_out(on_error, finished, tmp_path, monkeypatch, capsys):
    names = sorted(path.name for path in (CLIPS / "formats").iterdir())
    table = tmp_path / "captions.csv"
    table.write_text("\n".join(["video,caption", *(f"{name},what {name} shows" for name in names)]))
    knobs = [f"data.on_error={on_error}", "data.num_workers=2"]
    knobs = evaluate_folder(finished, tmp_path, CLIPS / "formats", table, *knobs)
    if on_error == "raise":
        told = fail(evaluate, monkeypatch, capsys, *knobs)
        assert len([line for line in told.splitlines() if "error: " in line and "corrupted.mp4" in line]) == 1
        assert "Traceback" not in told
        return
    monkeypatch.setattr(sys, "argv", ["job", *knobs])
    with pytest.warns(UserWarning, match=r"1 videos could not be read:\n.*corrupted\.mp4"):
        evaluate()
    results = json.loads(next(tmp_path.glob("folder/*/metrics.json")).read_text())
    assert (len(names), results["metrics"]["videos"]) == (9, 8)


def test_a_picture_is_drawn_of_a_checkpoints_tokens(finished, place, monkeypatch):
    video, picture = next(place.glob("*/test/*.mp4")), place / "tokens.png"
    checkpoint = finished / "checkpoints" / "best.ckpt"
    knobs = [f"output={place}", f"video={video}", f"picture={picture}", f"ckpt_path={checkpoint}"]
    monkeypatch.setattr(sys, "argv", ["job", *knobs])
    draw()
    assert picture.read_bytes().startswith(b"\x89PNG")
