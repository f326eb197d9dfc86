"""Training as users call it: same seed, same numbers; killed and resumed; adapters, loggers, two processes."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml

from retrieval import load_model
from tests.jobs.commands import ENV, ROOT, command, run, run_here


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_leaves_its_config_log_metrics_and_checkpoints(finished):
    results = json.loads((finished / "metrics.json").read_text())
    assert results["protocol"]["split"] == "test"
    assert results["checkpoint"].startswith("best val/both/r_sum (epoch ")
    assert (results["protocol"]["videos"], results["protocol"]["captions"]) == (8, 24)
    assert 0 <= results["metrics"]["t2v/r_at_1"] <= 100
    assert (finished / "config.yaml").is_file()
    log = (finished / "train.log").read_text()
    for fact in (
        "moving_shapes: train 16 videos, 48 captions; val 8 videos, 24 captions",
        "ViT-tiny-8, random weights",
        "tokens:                 32 a video at the end, of 12 frames",
        "trains new matrices:    3 tensors, 1,344 parameters, peak rate 0.001",
        "steps:                  6 in 3 epochs",
        "epoch 3/3: loss ",
    ):
        assert fact in log
    assert (finished / "checkpoints" / "best.ckpt").is_file()
    assert list(finished.glob("logs/metrics.csv"))


@pytest.mark.slow
def test_adapters_train_and_tensorboard_logs(place):
    folder = run_here(place, "lora", "experiment=smoke", "trainer.max_epochs=1", "tuning=lora", "logger=tensorboard")
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert (folder / "adapter" / "reducer.safetensors").is_file()
    assert list(folder.glob("logs/**/events.out.tfevents.*"))


IN_PIECES = ("micro_batch=3", "reducer=sparse_sampling", "reducer.num_clusters=20", "head=token_wise", "loss=sigmoid")


@pytest.mark.slow
def test_a_learned_schedule_is_kept_as_an_option_and_found_again_in_the_checkpoint(place):
    knobs = ["experiment=smoke", "trainer.max_epochs=3", "tuning=frozen", "optimizer.new_lr=0.05"]
    folder = run_here(place, "learned", *knobs, "reducer=diffrate", "reducer.learn=true", "reducer.budget=0.45")
    option = yaml.safe_load((folder / "reducer.yaml").read_text())
    assert option.pop("_target_") == "retrieval.reducers.DiffRate"
    assert not option["learn"]
    trained = load_model(folder / "checkpoints" / "best.ckpt").visual.reducer
    assert trained.schedule == list(zip(option["prune_kept"], option["merge_kept"], strict=True))
    assert trained.schedule != trained.learned.start()
    cost = json.loads((folder / "metrics.json").read_text())["cost"]
    assert cost["output_tokens"] == 12 * option["merge_kept"][-1]
    assert f"found reducer.merge_kept: {option['merge_kept']}" in (folder / "train.log").read_text()


@pytest.mark.slow
def test_killed_and_resumed_in_micro_batches_ends_with_the_same_weights_and_numbers(place):
    unbroken = run(place, "unbroken", *IN_PIECES)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(place, "killed", *IN_PIECES), cwd=ROOT, env=ENV, **quiet)
    while not list(place.glob("killed/*/checkpoints/last.ckpt")):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = next((place / "killed").iterdir())
    assert not (folder / "metrics.json").exists()

    assert run(place, "killed", *IN_PIECES, "ckpt_path=last") == folder
    expected, resumed = weights(unbroken), weights(folder)
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())
    assert (folder / "metrics.json").read_bytes() == (unbroken / "metrics.json").read_bytes()


@pytest.mark.slow
def test_the_same_command_gives_the_same_numbers_with_workers(place):
    knobs = ["experiment=smoke", "trainer.max_epochs=1", "data.num_workers=2"]
    one, two = (run(place, name, *knobs) for name in ("once", "again"))
    assert (one / "metrics.json").read_bytes() == (two / "metrics.json").read_bytes()


@pytest.mark.slow
def test_without_a_key_wandb_logs_offline(place, tmp_path, monkeypatch):
    for name in [name for name in ENV if name.startswith("WANDB_")]:
        monkeypatch.delitem(ENV, name)
    monkeypatch.setitem(ENV, "HOME", str(tmp_path))  # where no key is stored
    folder = run(place, "wandb", "experiment=smoke", "trainer.max_epochs=1", "logger=wandb")
    assert list(folder.glob("wandb/offline-run-*"))


@pytest.mark.slow
def test_two_processes_train_in_one_folder(place, finished):
    folder = run(place, "ddp", "trainer=ddp_cpu", "data.batch_size=4")
    assert list((place / "ddp").iterdir()) == [folder]
    one, two = (json.loads((run / "metrics.json").read_text())["metrics"] for run in (finished, folder))
    assert (one["videos"], one["captions"]) == (two["videos"], two["captions"]) == (8, 24)
