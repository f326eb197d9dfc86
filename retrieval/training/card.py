"""The protocol card of a job: what a training writes into its checkpoints, and what is measured under."""

from dataclasses import asdict
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from retrieval.jobs.environment import hardware, revision, versions
from retrieval.jobs.protocol import Training
from retrieval.training.experiment import selected_on

TRAINING = "training"
"""Where a checkpoint says how its weights came about."""


class TrainingRecord(L.Callback):
    """Writes into every checkpoint how its weights came about, for whoever measures it later.

    Args:
        config: the training's.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.revision, self.dirty = revision()

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        loader: Any = trainer.train_dataloader
        videos, captions = data.sizes()["train"]
        accumulated, devices = trainer.accumulate_grad_batches, trainer.world_size
        record = Training(
            selected_by=getattr(trainer.checkpoint_callback, "monitor", None),
            selected_on=data.selected_on,
            epochs=trainer.max_epochs,
            videos=videos,
            captions=captions,
            pairs=data.pairs,
            frames=self.config.data.frames,
            sampler=spelled(self.config.data.sampler),
            words=self.config.words,
            augmentation=spelled(self.config.data.augmentation),
            batch=loader.batch_size * devices * accumulated,
            accumulated=accumulated,
            devices=devices,
            precision=str(trainer.precision),
            seed=self.config.seed,
            revision=self.revision,
            dirty=self.dirty,
        )
        checkpoint[TRAINING] = asdict(record)


def measured_under(trainer: L.Trainer, config: DictConfig, split: str, content: dict[str, Any]) -> dict[str, Any]:
    """The facts of a `Protocol` but for how many videos and captions were ranked.

    Args:
        trainer: what has measured.
        config: the job's.
        split: that was measured.
        content: of the checkpoint whose weights they were; empty without one.

    Raises:
        UserError: a checkpoint that says what cannot be.
    """
    commit, dirty = revision()
    return {
        "split": split,
        "frames": config.data.frames,
        "sampler": spelled(config.data.sampler),
        "words": config.words,
        "precision": str(trainer.precision),
        "devices": trainer.world_size,
        "seed": config.seed,
        "hardware": hardware(trainer.strategy.root_device, trainer.world_size),
        "versions": versions(),
        "revision": commit,
        "dirty": dirty,
        "training": training_of(content, str(config.ckpt_path)),
    }


def training_of(content: dict[str, Any], source: str) -> Training | None:
    """How a checkpoint's weights came about; older ones only say what they were chosen on, foreign ones nothing."""
    if TRAINING in content:
        return Training.of_checkpoint(content[TRAINING], source)
    chosen = selected_on(content)
    return None if chosen is None else Training(selected_on=chosen)


def spelled(part: DictConfig) -> str:
    """A part's class or function and its knobs: `even_frames, rate 1.0`."""
    knobs: Any = OmegaConf.to_container(part, resolve=True)
    name = str(knobs["_target_"]).rpartition(".")[2]
    return ", ".join([name, *(f"{knob} {value}" for knob, value in knobs.items() if not knob.startswith("_"))])
