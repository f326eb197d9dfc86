"""What a finished run is good for: evaluation, also of folders with damaged files, loading, pictures."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from retrieval import load_model
from retrieval.draw import main as draw
from retrieval.evaluate import main as evaluate
from tests.jobs.commands import CLIPS, SMALL, call, execute, fail, run_here


@pytest.mark.slow
def test_two_processes_evaluate_a_checkpoint_as_one(place, finished):
    checkpoint = f"ckpt_path={finished / 'checkpoints' / 'best.ckpt'}"
    arguments = [f"output={place}", f"data.root={place}", checkpoint, *SMALL[1:6]]
    for name, trainer in (("one", "default"), ("two", "ddp_cpu")):
        execute([sys.executable, "-m", "retrieval.evaluate", f"name={name}", f"trainer={trainer}", *arguments])
    one, two = (json.loads(next(place.glob(f"{name}/*/metrics.json")).read_text()) for name in ("one", "two"))
    for each in (one, two):
        assert each["protocol"].pop("hardware").startswith(f"{each['protocol'].pop('devices')} x ")
    assert one == two


def evaluated(place: Path, name: str, *arguments: str) -> dict:
    """What an evaluation writes into metrics.json."""
    call(evaluate, f"output={place}", f"name={name}", *arguments)
    return json.loads(next(place.glob(f"{name}/*/metrics.json")).read_text())


def test_a_checkpoint_alone_says_what_it_is_evaluated_on(place, finished):
    again = evaluated(place, "evaluated", f"ckpt_path={finished / 'checkpoints' / 'best.ckpt'}")
    trained = json.loads((finished / "metrics.json").read_text())
    for fact in ("metrics", "data", "backbone", "reducer", "head", "protocol"):  # with how it was trained
        assert again[fact] == trained[fact]
    training = trained["protocol"]["training"]
    assert (training["selected_by"], training["selected_on"]) == ("val/both/r_sum", "val")
    assert (training["batch"], training["devices"], training["precision"]) == (8, 1, "32-true")
    assert (training["videos"], training["captions"], training["pairs"]) == (16, 48, "video")
    assert training["sampler"] == "even_frames, rate 1.0"


def test_what_is_changed_against_the_training_is_told(place, finished, capsys):
    checkpoint = f"ckpt_path={finished / 'checkpoints' / 'best.ckpt'}"
    again = evaluated(place, "changed", checkpoint, "words=16", "data.corpus.test=4")
    assert [again["protocol"][name] for name in ("words", "videos", "frames")] == [16, 4, 12]
    assert again["protocol"]["training"]["words"] == 32
    told = capsys.readouterr().out
    assert "warning: words=16, but the checkpoint was trained with 32" in told
    assert "warning: data.corpus.test=4, but the checkpoint was trained with 8" in told


@pytest.mark.parametrize(
    ("choices", "knobs", "message"),
    [
        ({"data": "theirs"}, {}, "was trained with data=theirs, which is no option here"),
        ({"data": ("folder",)}, {}, "refused, for its 'data' is no plain value"),
        ({"backbone": "a/../../../elsewhere"}, {}, "refused, for a/../../../elsewhere is no name of an option"),
        ({}, {"data.root": "${oc.env:HOME}"}, "refused, for its 'data.root' is no plain value"),
        ({}, {"data.root": {"_target_": "os.system"}}, "refused, for its 'data.root' is no plain value"),
        ({}, {"data.corpus._target_": "os.system"}, "refused, for its 'data.corpus._target_' is no plain value"),
        ({}, {"data.corpus[_target_]": "os.system"}, "refused, for its 'data.corpus[_target_]' is no plain value"),
        ({}, {"data.corpus.trains": 3}, "was trained with data.corpus.trains=3, which does not fit here"),
        ({}, [1], "refused, for its [1] is no plain value"),
    ],
)
def test_a_checkpoint_chooses_among_the_users_own_data_alone(choices, knobs, message, finished, tmp_path, capsys):
    content = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    content["experiment"] = {"choices": choices, "knobs": knobs}
    torch.save(content, tmp_path / "theirs.ckpt")
    assert message in fail(evaluate, capsys, f"output={tmp_path}", f"ckpt_path={tmp_path / 'theirs.ckpt'}")


def test_a_run_that_has_finished_is_not_tested_again(place, finished, capsys):
    before = sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*") if path.is_file())
    assert run_here(place, "finished", "ckpt_path=last") == finished
    assert "has finished 3 epochs and is tested" in capsys.readouterr().out
    assert sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*") if path.is_file()) == before


def test_a_checkpoint_of_ours_loads_with_its_reducer(finished):
    assert load_model(finished / "checkpoints" / "best.ckpt").visual.reducer.frames == 12


def evaluate_folder(finished, folder: Path, videos: Path, captions: Path, *overrides: str) -> list[str]:
    """The knobs of an evaluation of `finished`'s model on a folder of videos."""
    checkpoint = f"ckpt_path={finished / 'checkpoints' / 'best.ckpt'}"
    data = ["data=folder", f"data.root={videos}", f"data.captions={captions}"]
    return [f"output={folder}", "name=folder", checkpoint, *data, *overrides]


@pytest.fixture
def folder(finished, place, tmp_path) -> Path:
    """Four videos, one of them cut in half, and their captions."""
    videos = sorted(place.glob("*/test/*.mp4"))[:4]
    for path in videos:
        shutil.copy(path, tmp_path)
    (tmp_path / videos[0].name).write_bytes(videos[0].read_bytes()[: videos[0].stat().st_size // 2])
    rows = ["video,caption", *(f"{path.name},what {path.stem} shows" for path in videos)]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_ends_an_evaluation_in_one_line(workers, finished, folder, capsys):
    knobs = [f"data.num_workers={workers}", "data.on_error=raise"]
    told = fail(evaluate, capsys, *evaluate_folder(finished, folder / "runs", folder, folder / "captions.csv", *knobs))
    (damaged,) = (path for path in folder.glob("*.mp4") if path.name == sorted(folder.glob("*.mp4"))[0].name)
    assert told.startswith(f"error: {damaged}: ")
    assert "Traceback" not in told
    assert not list(folder.glob("runs/*"))


def test_a_damaged_file_is_left_out(finished, folder, capsys):
    knobs = ["data.on_error=skip", "data.num_workers=0"]
    call(evaluate, *evaluate_folder(finished, folder / "runs", folder, folder / "captions.csv", *knobs))
    results = json.loads(next(folder.glob("runs/folder/*/metrics.json")).read_text())
    assert results["protocol"]["videos"] == 3
    assert "warning: 1 videos could not be read:" in capsys.readouterr().out
    assert "1 videos could not be read:" in next(folder.glob("runs/folder/*/evaluate.log")).read_text()


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no ../shared/clips")
def test_a_folder_of_real_videos_is_evaluated(finished, tmp_path):
    videos, captions = CLIPS / "videos", CLIPS / "captions.csv"
    call(evaluate, *evaluate_folder(finished, tmp_path, videos, captions, "data.num_workers=0"))
    results = json.loads(next(tmp_path.glob("folder/*/metrics.json")).read_text())
    assert (results["protocol"]["videos"], results["protocol"]["captions"]) == (12, 36)


@pytest.mark.slow
def test_a_picture_is_drawn_of_a_checkpoints_own_reducer(place, capsys):
    knobs = ["experiment=smoke", "trainer.max_epochs=1", "reducer=kmedoids", "reducer.num_clusters=20", "data.frames=8"]
    checkpoint = run_here(place, "kmedoids", *knobs) / "checkpoints" / "best.ckpt"
    video, picture = next(place.glob("*/test/*.mp4")), place / "tokens.png"
    arguments = [f"output={place}", f"video={video}", f"ckpt_path={checkpoint}", "blocks=[7]"]
    call(draw, *arguments, f"picture={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    told = fail(draw, capsys, *arguments, "reducer=tempme", "data.frames=12")
    assert "was trained with KMedoids and the head Mean" in told
    assert "picture=a.wav: its ending names no known format" in fail(draw, capsys, *arguments, "picture=a.wav")


@pytest.mark.slow
def test_the_jobs_of_a_sweep_evaluate_into_their_folders(place, finished):
    checkpoint = f"ckpt_path={finished / 'checkpoints' / 'best.ckpt'}"
    call(evaluate, "-m", checkpoint, "split=val,test", f"hydra.sweep.dir={place / 'splits'}", f"output={place}")
    splits = {
        path.parent.name: json.loads(path.read_text())["protocol"]["split"]
        for path in place.glob("splits/*/metrics.json")
    }
    assert splits == {"split-val": "val", "split-test": "test"}
