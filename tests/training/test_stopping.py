"""A training that is told to stop saves what it has done, and ends as if it had never been stopped."""

import os
import signal
import threading
from functools import partial

import lightning as L
import pytest
import torch

from retrieval.data.loading import EpochSampler, TrainingLoader
from retrieval.jobs.stopping import Stopped, stoppable
from tests.training.small import Points, Small, go_on, small_trainer


@pytest.fixture(autouse=True)
def _with_ctrl_c():
    """A shell that runs the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Tell(L.Callback):
    """Sends this process a signal as a hook is called for the n-th time."""

    def __init__(self, hook: str, count: int, number: int = signal.SIGTERM) -> None:
        self.left, self.number = count, number
        setattr(self, hook, self._called)

    def _called(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def outcome(trainer: L.Trainer) -> dict:
    """Last weights and the optimizer's state, and which checkpoint is the best with what weights."""
    best = trainer.checkpoint_callback
    last = torch.load(best.dirpath + "/last.ckpt", weights_only=True)
    return {
        "last": last["state_dict"],
        "optimizer": last["optimizer_states"][0]["state"][0],
        "score": {"best": best.best_model_score, "step": torch.tensor(trainer.global_step)},
        "best": torch.load(best.best_model_path, weights_only=True)["state_dict"],
    }


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return outcome(go_on(tmp_path_factory.mktemp("unbroken")))


def stopped(folder, *arguments) -> int:
    with stoppable(), pytest.raises(Stopped) as stop:
        small_trainer(folder, Tell(*arguments)).fit(Small())
    return stop.value.code


@pytest.mark.parametrize(
    ("hook", "count", "saved_step"),
    [
        ("on_train_batch_start", 2, 2),
        ("on_train_batch_end", 6, 7),
        ("on_before_optimizer_step", 7, 7),
        ("on_train_batch_start", 8, 8),  # the last of an epoch, before a validation
        ("on_validation_batch_end", 3, 8),
        ("on_validation_batch_start", 6, 12),
        ("on_validation_end", 2, 8),
        ("on_train_epoch_end", 2, 8),
        ("on_train_batch_start", 16, 16),
        ("on_train_end", 1, 16),
    ],
)
def test_stopped_anywhere_it_ends_as_if_it_had_not_been(hook, count, saved_step, unbroken, tmp_path):
    assert stopped(tmp_path, hook, count) == 143
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == saved_step
    torch.testing.assert_close(outcome(go_on(tmp_path)), unbroken, rtol=0, atol=0)


def test_before_the_first_step_there_is_nothing_to_save(tmp_path):
    assert stopped(tmp_path, "on_train_start", 1) == 143
    assert not list(tmp_path.rglob("*.ckpt"))


def test_it_stops_where_gradients_have_been_stepped_with(tmp_path):
    knobs = {"accumulate_grad_batches": 2}
    whole = outcome(go_on(tmp_path / "whole", **knobs))
    with stoppable(), pytest.raises(Stopped):
        small_trainer(tmp_path, Tell("on_train_batch_start", 5), **knobs).fit(Small())
    torch.testing.assert_close(outcome(go_on(tmp_path, **knobs)), whole, rtol=0, atol=0)


@pytest.mark.parametrize("later", [0.0, 0.2])
def test_data_workers_that_end_by_the_same_signal_cost_nothing(later, unbroken, tmp_path):
    class Waiting(Points):
        def __getitem__(self, key):
            if self.left == 0:
                tell = partial(os.kill, os.getpid(), signal.SIGTERM)
                threading.Timer(later, tell).start() if later else tell()
                raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")
            self.left -= 1
            return super().__getitem__(key)

    points, model = Waiting(), Small()
    points.left = 12
    model.train_dataloader = lambda: TrainingLoader(points, 2, sampler=EpochSampler(points, 1, 0, 0), drop_last=True)
    with stoppable(), pytest.raises(Stopped):
        small_trainer(tmp_path).fit(model)
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
    torch.testing.assert_close(outcome(go_on(tmp_path)), unbroken, rtol=0, atol=0)


def test_slurms_signal_has_the_job_start_again(tmp_path, monkeypatch):
    for name, value in {"JOB_ID": "77", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    asked = tmp_path / "asked"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    (tmp_path / "scontrol").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert stopped(tmp_path, "on_train_batch_start", 2, signal.SIGUSR1) == 138
    assert asked.read_text() == "requeue 77\n"
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert not list(tmp_path.glob("hpc_ckpt*"))  # Lightning's, saved in the middle of a step


def test_ctrl_c_is_no_end_of_training(tmp_path):
    assert stopped(tmp_path, "on_train_batch_start", 2, signal.SIGINT) == 130


def test_handlers_are_put_back(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stopped(tmp_path, "on_train_batch_start", 2)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
