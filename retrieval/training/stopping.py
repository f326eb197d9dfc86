"""A training that is told to stop ends after the step at hand, with all that it has done saved."""

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment

from retrieval.jobs.slurm import requeue
from retrieval.jobs.stopping import SIGNALS, Reaction, Stopped, stop

GRACE = 1.0
"""Seconds within which a signal that has ended a data worker reaches this process, if a scheduler tells all of them."""
VALIDATION = "epoch_loop.val_loop.batch_progress"
"""Where a checkpoint of Lightning's counts the batches of a validation."""


class StopOnSignal(L.Callback):
    """Saves `checkpoint` and raises `Stopped`, on all devices together.

    Within an epoch that is after the step at hand, between epochs at once. In a validation it is at once on one device,
    and the resumed run validates again; on several it is after the validation, as they cannot agree in it. A second
    signal does not wait. Lightning's own handlers are replaced: that of SIGTERM ends with exit code 0 and saves
    nothing, that of Slurm's signal saves in the middle of a step.

    Args:
        checkpoint: file that the resumed run takes.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.received = 0  # the first signal's number
        self.ours: list[signal.Signals] = []
        self.between_steps = self.validating = False

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """See which signals are the job's, before Lightning puts handlers of its own there."""
        self.ours = [number for number in SIGNALS if isinstance(signal.getsignal(number), Reaction)]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._listen(Reaction(partial(self._note, trainer)))

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._listen(Reaction(partial(_stop_all, trainer)))

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.between_steps = False
        self._stop_if_told(trainer)

    def on_train_batch_start(self, *_: Any) -> None:
        self.between_steps = False

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        done = batch_index + 1
        has_stepped = done % trainer.accumulate_grad_batches == 0
        validates = done % (trainer.val_check_batch or float("inf")) == 0
        if has_stepped and not validates and not trainer.is_last_batch:  # else a validation or the epoch's end is next
            self._stop_if_told(trainer, save=True)
            self.between_steps = True

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.world_size == 1:
            self.validating = True
            self._stop_if_told(trainer)

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """What comes now, the best checkpoint, is not to be stopped: another validation would not find it better."""
        self.validating = False

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._stop_if_told(trainer)

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.received:  # since the end of the training, while no signal was due
            _stop_all(trainer, self.received)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Save where a validation was stopped, or where data workers were ended by the same signal as this process."""
        is_of_worker = "DataLoader worker" in str(exception.__cause__)
        if is_of_worker and not self.received:
            time.sleep(GRACE)
        lost_worker = bool(self.received) and is_of_worker
        is_saved = self.between_steps if lost_worker else self.validating and isinstance(exception, Stopped)
        if is_saved and trainer.world_size == 1:
            trainer.save_checkpoint(self.checkpoint)
        if trainer.is_global_zero and signal.SIGUSR1 in (self.received, getattr(exception, "number", 0)):
            requeue()
        if lost_worker:
            raise Stopped(self.received) from exception

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """A validation that is stopped begins anew, as if it had been stopped in its first batch."""
        if self.validating:
            begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            checkpoint["loops"]["fit_loop"][VALIDATION] |= {"total": begun, "current": dict(begun)}

    def _listen(self, reaction: Reaction) -> None:
        requeues = SLURMEnvironment.detect() and callable(signal.getsignal(signal.SIGUSR1))  # Lightning's handler
        for number in [*self.ours, signal.SIGUSR1] if requeues else self.ours:
            signal.signal(number, reaction)

    def _note(self, trainer: L.Trainer, number: int) -> None:
        if self.received or self.validating:
            raise Stopped(number)
        self.received = number
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # data workers may have had the same signal: that is no news
        # Not through the log, in the midst of which a signal may come.
        os.write(2, f"{signal.Signals(number).name}: stops after this step; a second one stops at once\n".encode())

    def _stop_if_told(self, trainer: L.Trainer, save: bool = False) -> None:
        if trainer.world_size > 1:
            mine = torch.tensor(self.received, device=trainer.strategy.root_device)
            self.received = int(trainer.strategy.reduce(mine, reduce_op="max"))
        if self.received:
            if save:
                trainer.save_checkpoint(self.checkpoint)
            raise Stopped(self.received)


def _stop_all(trainer: L.Trainer, number: int) -> None:
    """Stop here, and in the processes that Lightning has started from this one."""
    if trainer.strategy.launcher is not None:
        trainer.strategy.launcher.kill(signal.SIGTERM)
    stop(number)
