"""A line an epoch, on the screen and in the log alike, also where no progress bar is seen."""

import logging
from time import perf_counter

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

VALUES = {
    "loss": "train/loss_epoch",
    "val t2v R@1": "val/t2v/r_at_1",
    "v2t R@1": "val/v2t/r_at_1",
    "both R-Sum": "val/both/r_sum",
    "videos/s": "train/videos_per_second",
}
_log = logging.getLogger(__name__)


class EpochLines(L.Callback):
    """Logs `epoch 3/8: loss 1.93, val t2v R@1 12.3, v2t R@1 14.1, both R-Sum 210.4, videos/s 71, 2 min left`."""

    def __init__(self) -> None:
        self.since, self.first = 0.0, 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.since, self.first = perf_counter(), trainer.current_epoch

    @rank_zero_only
    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        metrics, done = trainer.callback_metrics, trainer.current_epoch + 1
        values = [f"{name} {float(metrics[key]):.4g}" for name, key in VALUES.items() if key in metrics]
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            seconds = (perf_counter() - self.since) / (done - self.first) * (trainer.max_epochs - done)
            values.append(f"{_duration(seconds)} left")
        _log.info("epoch %d/%s: %s", done, trainer.max_epochs, ", ".join(values))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
