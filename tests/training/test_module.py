"""The LightningModule: the loss of two processes is that of one, evaluation too, and NaN is told."""

import os
import socket
from contextlib import closing
from functools import partial
from typing import NamedTuple

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.multiprocessing import spawn
from torch.optim import SGD
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import DataLoader, DistributedSampler, Sampler, default_collate

from retrieval import load_model
from retrieval.data.batches import CaptionBatch, TrainingBatch, VideoBatch
from retrieval.reducers import TempMe
from retrieval.training.compilation import Compilation
from retrieval.training.losses import ContrastiveLocal, Sigmoid
from retrieval.training.module import RetrievalModule

PAIRS, VIDEOS = 8, 5
sigmoid = partial(
    Sigmoid, scale=3, bias=0
)  # from SigLIP's start the pairs that do not belong together weigh too little
STEPS = {
    "contrastive": {},
    "contrastive_local": {"loss": ContrastiveLocal},
    "sigmoid": {"loss": sigmoid},
    "micro_batches": {"micro_batch": 3},
    "accumulated": {"micro_batch": 1, "accumulate": 2, "loss": sigmoid},
    "compiled": {"compiled": True},
}
"""Steps that two processes take together, by name."""


def sgd(model, loss, steps, lr=0.1):
    optimizer = SGD([*model.parameters(), *loss.parameters()], lr)
    return optimizer, ConstantLR(optimizer)


def module(**knobs) -> RetrievalModule:
    torch.manual_seed(0)
    return RetrievalModule(load_model("ViT-tiny-8", TempMe()).train(), partial(sgd), **knobs)


def batches(kind: type[NamedTuple], count: int, size: int, sampler: Sampler | None = None) -> DataLoader:
    """Items of random frames, random words and their own numbers, in batches of `kind`."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (count, 12, 3, 40, 40), generator=generator, dtype=torch.uint8)
    words = torch.randint(1, 49408, (count, 32), generator=generator)
    columns = {"frames": frames, "token_ids": words, "skipped": [""] * count}
    rows = [{name: columns.get(name, torch.arange(count))[i] for name in kind._fields} for i in range(count)]
    return DataLoader(rows, size, sampler=sampler, collate_fn=lambda parts: kind(**default_collate(parts)))


class Data(L.LightningDataModule):
    """Eight training pairs; five videos of one caption each, which two processes cannot share evenly."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        """Of several processes, whose batches together are those of one."""
        sampler = DistributedSampler(range(PAIRS), shuffle=False) if torch.distributed.is_initialized() else None
        return batches(TrainingBatch, PAIRS, self.batch_size, sampler)

    def val_dataloader(self):
        return [batches(VideoBatch, VIDEOS, 2), batches(CaptionBatch, VIDEOS, 2)]


class Record(L.Callback):
    """Writes what rank 0 saw: loss, gradients, metrics."""

    def __init__(self, path) -> None:
        self.path, self.seen = path, {}

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:
        gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
        self.seen |= {"gradients": gradients, "loss": trainer.callback_metrics["train/loss"]}

    def on_fit_end(self, trainer, module) -> None:
        if trainer.is_global_zero:
            metrics = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
            compiled = module.model.visual._compiled_call_impl is not None  # and has not failed
            torch.save(self.seen | {"metrics": metrics, "compiled": compiled}, self.path)


def quiet_trainer(**knobs) -> L.Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return L.Trainer(accelerator="cpu", max_steps=1, num_sanity_val_steps=0, **quiet, **knobs)


def record_one_step(path, batch_size, loss=None, micro_batch=None, accumulate=1, compiled=False, **knobs):
    callbacks = [Record(path), Compilation(compiled, {"video_gmacs": 0.0, "text_gmacs": 0.0})]
    trainer = quiet_trainer(callbacks=callbacks, accumulate_grad_batches=accumulate, **knobs)
    trainer.fit(module(loss=loss and loss(), micro_batch=micro_batch), Data(batch_size // accumulate))


def train_one_step(path, **knobs):
    record_one_step(path, PAIRS, **knobs)
    return torch.load(path, weights_only=True)


def two_processes_step(rank, folder, port):
    """One of two processes, in which all steps are taken."""
    place = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    torch.compile = partial(torch.compile, backend="aot_eager")
    for name, knobs in STEPS.items():
        strategy = DDPStrategy(process_group_backend="gloo")
        record_one_step(folder / name, PAIRS // 2, **knobs, devices=2, strategy=strategy)


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(tmp_path):
    """DDP averages the gradients of the processes: that mean is the gradient of the whole batch."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(two_processes_step, (tmp_path, port), nprocs=2)
    for name, knobs in STEPS.items():
        one = train_one_step(tmp_path / "one", **knobs | {"micro_batch": None, "compiled": False})
        two = torch.load(tmp_path / name, weights_only=True)
        assert two["compiled"] == ("compiled" in knobs)
        torch.testing.assert_close(two["loss"], one["loss"], atol=1e-5, rtol=0)
        assert one["gradients"].keys() == two["gradients"].keys()
        assert ("model.logit_scale" in two["gradients"]) == (knobs.get("loss") is not sigmoid)
        for parameter, gradient in one["gradients"].items():
            found = two["gradients"][parameter]
            torch.testing.assert_close(found, gradient, atol=1e-5, rtol=1e-5, msg=f"{name}: {parameter}")
        assert one["metrics"]["val/videos"] == VIDEOS
        assert one["metrics"] == two["metrics"]


def test_the_loss_is_cross_entropy_both_ways(tmp_path):
    seen = train_one_step(tmp_path / "one")
    model, batch = module().model, next(iter(Data(PAIRS).train_dataloader()))
    logits = model.similarity(model.encode_text(batch.token_ids), model.encode_video(batch.frames))
    pairs = torch.arange(PAIRS)
    expected = (logits.log_softmax(0)[pairs, pairs] + logits.log_softmax(1)[pairs, pairs]).mean() / -2
    torch.testing.assert_close(seen["loss"], expected)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16-mixed", 0.05), ("bf16-true", 0.1), ("64-true", 1e-5)])
def test_every_precision_trains(tmp_path, precision, tolerance):
    expected = train_one_step(tmp_path / "full")["loss"]
    loss = train_one_step(tmp_path / "other", precision=precision)["loss"]
    torch.testing.assert_close(loss.float(), expected, atol=tolerance, rtol=0)


def test_the_logit_scale_stays_at_100():
    training = RetrievalModule(load_model("ViT-tiny-8").train(), partial(sgd, lr=0.0))
    training.model.logit_scale.data.fill_(9.0)
    quiet_trainer().fit(training, Data(PAIRS))
    torch.testing.assert_close(training.model.logit_scale.exp(), torch.tensor(100.0))


def test_a_loss_that_is_not_a_number_is_told(tmp_path):
    broken = module()
    broken.model.text.text_projection.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"the loss is nan at step 0: lower optimizer\.lr"):
        quiet_trainer().fit(broken, Data(PAIRS))


def test_training_without_optimizer_is_told():
    with pytest.raises(ValueError, match="made to evaluate"):
        RetrievalModule(load_model("ViT-tiny-8")).configure_optimizers()
