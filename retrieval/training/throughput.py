"""Training videos a second over an epoch's steps, and the share of that time in which nothing but reading was done."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import lightning as L

from retrieval.data.batches import TrainingBatch


class Throughput(L.Callback):
    """Logs two numbers each epoch; validation counts for neither.

    `train/videos_per_second` is of all devices together, reading included. `train/waiting_for_videos` is the share of
    the time, from 0 to 1, in which the first device waited for its next batch: where it is more than a few hundredths,
    reading holds training up, and `python -m retrieval.benchmark loading` tells which knob to turn.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.clock = clock
        self.since, self.waited, self.seconds, self.videos = 0.0, 0.0, 0.0, 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.since = self.clock()  # a run that goes on within an epoch does not start that

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.since, self.waited, self.seconds, self.videos = self.clock(), 0.0, 0.0, 0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        self.waited += self.clock() - self.since

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: TrainingBatch, *_: Any
    ) -> None:
        now = self.clock()
        self.seconds += now - self.since
        self.since = now
        self.videos += len(batch.frames) * trainer.world_size

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.since = self.clock()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.seconds > 0:
            module.log("train/videos_per_second", self.videos / self.seconds, rank_zero_only=True)
            module.log("train/waiting_for_videos", self.waited / self.seconds, rank_zero_only=True)
