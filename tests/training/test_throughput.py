"""Videos a second, and waiting for them, in a real training, with a clock of the test's own."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from retrieval.data.batches import TrainingBatch
from retrieval.training.throughput import Throughput


class Step(L.LightningModule):
    """One weight; validation lets an hour pass."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.clock = clock

    def training_step(self, batch, index):
        self.clock[0] += 2.0
        return self.weight * batch.frames.sum()

    def validation_step(self, batch, index):
        self.clock[0] += 3600.0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("resumed", [False, True])
def test_videos_a_second_and_the_wait_for_them_are_of_training_whatever_validation_takes(resumed, tmp_path):
    clock = [0.0]
    frames, words = torch.zeros(4, 1, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, 3, dtype=torch.long)
    batch = TrainingBatch(frames, words, [])

    class Read(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            clock[0] += 0.5
            return batch

    loader = DataLoader(Read(), batch_size=None)

    def fit(checkpoint=None) -> L.Trainer:
        each = L.pytorch.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        quiet = {"logger": False, "enable_progress_bar": False, "accelerator": "cpu", "num_sanity_val_steps": 0}
        throughput = Throughput(clock=lambda: clock[0])
        trainer = L.Trainer(
            max_epochs=1, callbacks=[throughput, each], val_check_interval=1, default_root_dir=tmp_path, **quiet
        )
        trainer.fit(Step(clock), loader, loader, ckpt_path=checkpoint, weights_only=True)
        return trainer

    trainer = fit()
    if resumed:  # within an epoch, which is not started then
        clock[0] = 1e6
        trainer = fit(tmp_path / "step=1.ckpt")
    told = trainer.callback_metrics
    assert told["train/videos_per_second"].item() == pytest.approx(4 / (0.5 + 2.0))
    assert told["train/waiting_for_videos"].item() == pytest.approx(0.5 / (0.5 + 2.0))
