"""A training of milliseconds that draws random numbers, chooses its best checkpoint and can be stopped anywhere."""

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from retrieval.data.loading import EpochSampler, TrainingLoader
from retrieval.training.checkpoints import WholeCheckpoints
from retrieval.training.module import RetrievalModule
from retrieval.training.resuming import Resumption
from retrieval.training.stopping import StopOnSignal

SCORES = [3.0, 7.0, 5.0, 6.0]
"""What validation finds after each epoch: the second is the best."""


class Points(Dataset):
    """Eight points, other ones in every epoch."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, key):
        index, epoch = key if isinstance(key, tuple) else (key, 0)
        return torch.randn(4, generator=torch.Generator().manual_seed(100 * epoch + index))


class Small(L.LightningModule):
    """A layer with dropout, seeded as the real module is.

    Args:
        numbers: of weights that are not trained and make the checkpoint larger.
        scores: what validation finds, by epoch.
    """

    def __init__(self, numbers: int = 0, scores=SCORES) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        nn.init.eye_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.register_buffer("ballast", torch.zeros(numbers))
        self.seed, self.scores = 0, scores

    on_train_batch_start = RetrievalModule.on_train_batch_start
    on_validation_epoch_start = RetrievalModule.on_validation_epoch_start

    def training_step(self, batch, batch_index):
        return F.dropout(self.layer(batch), 0.5).square().mean()

    def validation_step(self, batch, batch_index):
        self.log("score", float(self.scores[self.current_epoch]))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.1)
        fewer = torch.optim.lr_scheduler.StepLR(optimizer, self.trainer.estimated_stepping_batches // 4)
        return [optimizer], [{"scheduler": fewer, "interval": "step"}]

    def train_dataloader(self):
        return TrainingLoader(Points(), 2, sampler=EpochSampler(Points(), 1, 0, seed=0), drop_last=True)

    def val_dataloader(self):
        return DataLoader(Points(), 4)


def small_trainer(folder: Path, *callbacks: L.Callback, epochs: int = 4, **knobs) -> L.Trainer:
    """A trainer of a run in `folder`, as a run has it."""
    last = folder / "checkpoints" / "last.ckpt"
    kept = {"dirpath": last.parent, "enable_version_counter": False}
    checkpoints = [
        ModelCheckpoint(filename="best", monitor="score", mode="max", **kept),
        ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **kept),
    ]
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    return L.Trainer(
        accelerator="cpu", max_epochs=epochs, num_sanity_val_steps=0, default_root_dir=folder, **quiet, **knobs,
        callbacks=[StopOnSignal(last), Resumption(), *callbacks, *checkpoints], plugins=[WholeCheckpoints()],
    )  # fmt: skip


def go_on(folder: Path, checkpoint: Path | None = None, module: Small | None = None, **knobs) -> L.Trainer:
    """Resume the run in `folder`, from its last checkpoint if no other is given; returns the trainer in the end."""
    trainer = small_trainer(folder, **knobs)
    path = checkpoint or folder / "checkpoints" / "last.ckpt"
    trainer.fit(module or Small(), ckpt_path=path if path.exists() else None, weights_only=True)
    return trainer
