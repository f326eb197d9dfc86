"""Training videos a second, over an epoch's steps."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import lightning as L

from retrieval.data.batches import TrainingBatch


class Throughput(L.Callback):
    """Logs `train/videos_per_second` each epoch: all devices together, reading included, validation not.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.clock = clock
        self.since, self.seconds, self.videos = 0.0, 0.0, 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.since = self.clock()  # a run that goes on within an epoch does not start that

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.since, self.seconds, self.videos = self.clock(), 0.0, 0

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
