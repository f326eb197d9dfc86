"""A model that trains on nothing and notes what the data module gives it."""

import lightning as L
import torch
from torch import nn


class Recorder(L.LightningModule):
    """A model that notes the batches that it is given."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.fail_at = fail_at
        self.seen = []
        self.evaluated = []

    def training_step(self, batch, batch_idx):
        if self.fail_at == len(self.seen):
            raise KeyboardInterrupt
        self.seen.append((batch.frames.clone(), batch.token_ids))
        return self.weight * batch.frames.float().mean()

    def validation_step(self, batch, batch_idx, dataloader_idx):
        self.evaluated.append(batch)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder, **knobs):
    defaults = {"max_epochs": 3, "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return L.Trainer(default_root_dir=folder, accelerator="cpu", devices=1, num_sanity_val_steps=0, **defaults | knobs)


def fit(datamodule, folder, **knobs):
    model = Recorder()
    trainer(folder, enable_checkpointing=False, limit_val_batches=0, **knobs).fit(model, datamodule)
    return model.seen


def assert_same(one, two):
    assert len(one) == len(two)
    for (frames, words), (other_frames, other_words) in zip(one, two, strict=True):
        assert frames.equal(other_frames)
        assert words.equal(other_words)
