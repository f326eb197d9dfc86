"""The entry points as users call them: same seed, same numbers; killed and resumed; bad input in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from retrieval import load_model
from retrieval.draw import main as draw
from retrieval.evaluate import main as evaluate
from retrieval.train import main as train
from tests.conftest import TINY_CLIP

ROOT = Path(__file__).parents[1]
CLIPS = ROOT.parent / "shared" / "clips"
ENV = os.environ | {"OMP_NUM_THREADS": "1"}
SMALL = [
    "reducer=tempme",
    "data.corpus.train=16",
    "data.corpus.val=8",
    "data.corpus.test=8",
    "data.batch_size=8",
    "data.num_workers=0",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
]


def command(folder: Path, name: str, *overrides: str) -> list[str]:
    place = [f"output={folder}", f"name={name}", f"data.root={folder}"]
    return [sys.executable, "-m", "retrieval.train", *place, *SMALL, *overrides]


def execute(line: list[str]) -> None:
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=ENV)
    assert done.returncode == 0, done.stderr


def run(folder: Path, name: str, *overrides: str) -> Path:
    """Train in a process of its own; returns the newest run's folder."""
    execute(command(folder, name, *overrides))
    return max((folder / name).iterdir())


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def finished(place) -> Path:
    return run(place, "finished")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_leaves_its_config_metrics_and_checkpoints(finished):
    results = json.loads((finished / "metrics.json").read_text())
    assert results["split"] == "test"
    assert results["checkpoint"].startswith("best val/r_sum (epoch ")
    assert results["metrics"]["videos"] == 8
    assert results["metrics"]["captions"] == 24
    assert 0 <= results["metrics"]["t2v/r_at_1"] <= 100
    assert (finished / "config.yaml").is_file()
    assert (finished / "checkpoints" / "best.ckpt").is_file()
    assert list(finished.glob("logs/*/metrics.csv"))


def test_killed_and_resumed_ends_with_the_same_weights_and_numbers(place, finished):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(place, "killed"), cwd=ROOT, env=ENV, **quiet)
    while not list(place.glob("killed/*/checkpoints/last.ckpt")):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = next((place / "killed").iterdir())
    assert not (folder / "metrics.json").exists()

    assert run(place, "killed", "ckpt_path=last") == folder
    expected, resumed = weights(finished), weights(folder)
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())
    assert (folder / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()


def test_the_same_command_gives_the_same_numbers_with_workers(place):
    knobs = ["experiment=smoke", "trainer.max_epochs=1", "data.num_workers=2"]
    one, two = (run(place, name, *knobs) for name in ("once", "again"))
    assert (one / "metrics.json").read_bytes() == (two / "metrics.json").read_bytes()


def test_adapters_train_and_tensorboard_logs(place):
    folder = run(place, "lora", "experiment=smoke", "trainer.max_epochs=1", "tuning=lora", "logger=tensorboard")
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert (folder / "adapter" / "reducer.safetensors").is_file()
    assert list(folder.glob("logs/**/events.out.tfevents.*"))


def test_without_a_key_wandb_logs_offline(place, tmp_path, monkeypatch):
    for name in [name for name in ENV if name.startswith("WANDB_")]:
        monkeypatch.delitem(ENV, name)
    monkeypatch.setitem(ENV, "HOME", str(tmp_path))  # where no key is stored
    folder = run(place, "wandb", "experiment=smoke", "trainer.max_epochs=1", "logger=wandb")
    assert list(folder.glob("wandb/offline-run-*"))


def test_two_processes_train(place, finished):
    folder = run(place, "ddp", "trainer=ddp_cpu", "data.batch_size=4")
    one, two = (json.loads((run / "metrics.json").read_text())["metrics"] for run in (finished, folder))
    assert (one["videos"], one["captions"]) == (two["videos"], two["captions"]) == (8, 24)


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


def fail(job, monkeypatch, capsys, *overrides: str) -> str:
    """What a job prints as it refuses its input."""
    monkeypatch.setattr(sys, "argv", ["job", *overrides])
    with pytest.raises(SystemExit) as stopped:
        job()
    assert stopped.value.code not in (0, None)
    return f"{stopped.value.code} {capsys.readouterr().err}"


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


def test_a_picture_is_drawn_of_a_checkpoints_tokens(finished, place, monkeypatch):
    video, picture = next(place.glob("*/test/*.mp4")), place / "tokens.png"
    checkpoint = finished / "checkpoints" / "best.ckpt"
    knobs = [f"output={place}", f"video={video}", f"picture={picture}", f"ckpt_path={checkpoint}"]
    monkeypatch.setattr(sys, "argv", ["job", *knobs])
    draw()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_bad_input_to_drawing_is_told_in_one_line(place, monkeypatch, capsys):
    assert "nowhere.mp4: no such file" in fail(draw, monkeypatch, capsys, f"output={place}", "video=nowhere.mp4")


def recipes() -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("recipe", recipes())
def test_recipes_compose(recipe):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [f"experiment={recipe}"])
    assert config.backbone.source
