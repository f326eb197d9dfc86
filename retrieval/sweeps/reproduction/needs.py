"""Before a reproduction starts: whether data and weights are there, and what it will take, by a few timed steps."""

import gc
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from retrieval.data import RetrievalDataModule
from retrieval.data.corpora.base import check_files
from retrieval.efficiency.cost import trained_parameters
from retrieval.efficiency.memory import peak_memory
from retrieval.errors import UserError
from retrieval.jobs.environment import hardware
from retrieval.jobs.files import read_json, write_json
from retrieval.sweeps.outline import check_job
from retrieval.sweeps.reproduction.figures import published_row, published_videos
from retrieval.training.building import build_module, build_trainer

FILE = "needs.json"
"""In the sweep's folder: what the timed steps have found, so that a reproduction that goes on does not repeat them."""
CHOICES = ("published", "any")
GB = 1e9


@dataclass(frozen=True)
class Needs:
    """What a job of a reproduction takes.

    Args:
        hours: of one job; None where nothing was timed.
        checkpoints: bytes on disk of one job's.
        memory: bytes at the peak, of a device or on the CPU of the process; None where nothing was timed.
        hardware: that the steps were timed on.
    """

    hours: float | None
    checkpoints: int
    memory: int | None
    hardware: str | None


def prepare(configs: Sequence[DictConfig], folder: Path) -> None:
    """Check data, weights and disk, time a few steps, and tell what the jobs that are left will take.

    Args:
        configs: of the jobs to run; all read the same data with the same model.
        folder: the sweep's.

    Raises:
        UserError: the first thing that is missing or does not suffice.
    """
    config = configs[0]
    row = published_row(config.reproduction.row)
    if config.reproduction.videos not in CHOICES:
        raise UserError(
            f"reproduction.videos={config.reproduction.videos!r}: choose one of {', '.join(CHOICES)}, as whether other "
            "numbers of videos are refused"
        )
    data = check_job(config)
    counts = check_data(data, config)
    needs = _known(folder) or _measured(config, data, folder)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    print(f"reproduces {row.title} ({row.paper}) on {counts}")
    print(_told(needs, len(configs), folder))
    _check_disk(needs.checkpoints * len(configs), folder)


def check_data(data: RetrievalDataModule, config: DictConfig) -> str:
    """How many videos the splits have, in words.

    Raises:
        UserError: annotations or videos that are missing, or other numbers of videos than were published.
    """
    data.prepare_data()
    name = type(data.corpus).__name__
    published, counts = published_videos(name), {}
    for split in data.corpus.splits:
        records = data.corpus.records(split)
        if data.frames_from == "video" and data.on_error == "raise":
            check_files(records, split)
        counts[split] = len(records)
    wrong = [split for split, figure in published.items() if counts.get(split) != figure.value]
    if wrong and config.reproduction.videos == "published":
        split = wrong[0]
        raise UserError(
            f"data.root={config.data.root}: the split {split!r} of {name} has {counts.get(split, 0):,} videos, "
            f"published are {published[split].value:,}; reproduction.videos=any goes on, and the card tells the numbers"
        )
    return ", ".join(f"{split} {count:,}" for split, count in counts.items()) + " videos"


def _measured(config: DictConfig, data: RetrievalDataModule, folder: Path) -> Needs:
    """Get the weights, time a few steps, if asked to, and write down what they took."""
    module = build_module(config)
    numbers = sum(parameter.numel() for parameter in module.model.parameters())
    size = 4 * (numbers + 2 * trained_parameters(module.model))  # the weights, and AdamW's two means of what trains
    checkpoints = 2 * size  # the best one and the last one
    steps = int(config.reproduction.warmup)
    if steps < 1:
        return Needs(None, checkpoints, None, None)
    clock = StepClock()
    trainer = build_trainer(_short(config, steps), clock)
    device = trainer.strategy.root_device
    try:
        if device.type == "cuda":
            peak_memory("cuda", reset=True)
        trainer.fit(module, data)
    except torch.cuda.OutOfMemoryError as error:
        raise UserError(
            f"data.batch_size={config.data.batch_size}: a step does not fit into the memory of {hardware(device)}; "
            "take more devices with fewer videos each, or trainer.accumulate_grad_batches"
        ) from error
    hours = _hours(config, data, clock.seconds_per_step, trainer) / _devices(config)
    needs = Needs(hours, checkpoints, peak_memory(device.type), hardware(device))
    write_json(folder / FILE, asdict(needs))
    return needs


def _hours(config: DictConfig, data: RetrievalDataModule, seconds: float, trainer: L.Trainer) -> float:
    """Hours of one job on one device; ranking a video is taken to last as long as training on it, so it is less."""
    loader: Any = trainer.train_dataloader
    data.setup("test")
    sizes = data.sizes()
    ranked = (config.trainer.max_epochs * sizes["val"][0] + sizes["test"][0]) / loader.batch_size
    return seconds * (config.trainer.max_epochs * len(loader) + ranked) / 3600


class StepClock(L.Callback):
    """When each training step ended, the device's work included."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(perf_counter())

    @property
    def seconds_per_step(self) -> float:
        """The mean of all steps but the first, which warms up; of a set with one batch there is none."""
        return (self.ends[-1] - self.ends[0]) / max(1, len(self.ends) - 1)


def _short(config: DictConfig, steps: int) -> DictConfig:
    """The job's config for a few steps on one device, of which nothing is kept."""
    short: Any = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    short.callbacks = short.logger = None
    alone = {"devices": 1, "num_nodes": 1, "strategy": "auto", "max_epochs": 1, "enable_progress_bar": False}
    cut = {"limit_train_batches": steps + 1, "limit_val_batches": 0, "enable_checkpointing": False}
    short.trainer = {**short.trainer, **alone, **cut}
    return short


def _devices(config: DictConfig) -> int:
    """How many devices a job will train on."""
    asked, nodes = config.trainer.devices, config.trainer.get("num_nodes", 1)
    if isinstance(asked, ListConfig):
        return len(asked) * nodes
    if isinstance(asked, int) and asked > 0:
        return asked * nodes
    return max(1, torch.cuda.device_count()) * nodes


def _known(folder: Path) -> Needs | None:
    """What an earlier start of this reproduction has found; None where there was none, or its file is damaged."""
    try:
        return Needs(**read_json(folder / FILE))
    except (UserError, TypeError):
        return None


def _told(needs: Needs, jobs: int, folder: Path) -> str:
    disk = f"{jobs * needs.checkpoints / GB:.1f} GB in {folder}"
    if needs.hours is None or needs.memory is None:
        return f"needs {disk} for checkpoints; time and memory were not measured (reproduction.warmup=0)"
    return (
        f"needs about {jobs * needs.hours:.2g} hours for {jobs} jobs one after the other, {needs.hours:.2g} each, "
        f"{needs.memory / GB:.1f} GB of memory a device, and {disk} for checkpoints; timed on {needs.hardware}"
    )


def _check_disk(wanted: int, folder: Path) -> None:
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if free < wanted:
        raise UserError(
            f"{place}: {free / GB:.1f} GB are free, the checkpoints take {wanted / GB:.1f}; output=<folder> writes "
            "elsewhere"
        )
