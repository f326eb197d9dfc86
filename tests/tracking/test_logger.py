"""What a W&B run is called and grouped by, and that neither network nor pictures cost a run."""

import subprocess
import sys

import pytest
import wandb

from retrieval.tracking.logger import wandb_logger
from retrieval.tracking.records import find_knob, never_fatal
from tests.jobs.commands import ENV


@pytest.mark.slow
def test_wandb_is_not_loaded_without_being_asked_for():
    code = "import sys, retrieval.tracking, retrieval.tracking.curves; print('wandb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    wandb.teardown()  # what a test before has read from the environment
    yield
    wandb.finish()
    wandb.teardown()


def test_the_jobs_of_a_sweep_are_runs_of_one_group(offline, tmp_path):
    sweep = tmp_path / "sweeps" / "reducers"
    runs = [
        wandb_logger(str(folder), str(sweep), "shapes", "offline", project="p").experiment
        for folder in (sweep / "seed=0", sweep / "seed=1", tmp_path / "shapes" / "now")
    ]
    assert [run.group for run in runs] == ["reducers", "reducers", ""]
    assert [run.name for run in runs] == ["shapes seed=0", "shapes seed=1", "shapes"]
    assert len({run.id for run in runs}) == 3


@pytest.mark.slow
def test_a_server_that_cannot_be_reached_leaves_the_run_offline(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2")
    with pytest.warns(UserWarning, match="the run is logged offline, `wandb sync` brings it online later"):
        run = wandb_logger(str(tmp_path / "run"), str(tmp_path / "sweep"), "run", "online", project="p").experiment
    run.finish()
    assert list(tmp_path.glob("run/wandb/offline-run-*"))


def test_what_cannot_be_logged_is_told_and_the_run_goes_on():
    @never_fatal
    def _log_something() -> None:
        raise RuntimeError("the network is gone")

    with pytest.warns(UserWarning, match="could not log something, the run goes on: RuntimeError: the network is gone"):
        _log_something()


@pytest.mark.parametrize(
    ("reducer", "value"),
    [
        ({"num_segments": 4}, 4),
        ({"num_segments": [6, 4]}, "6, 4"),
        ({"image_merge": 1}, None),
        ({"reducers": [{"image_merge": 1}, {"num_segments": 3}]}, 3),
    ],
)
def test_knobs_are_found_in_every_reducers_config(reducer, value):
    assert find_knob(reducer, "num_segments") == value
