"""The start of a job, told once: what runs where, on what data, and what is trained."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from retrieval.jobs.announcing import announce


class Start(L.Callback):
    """Tells the facts of a job as soon as all of them are known.

    Args:
        facts: what is known before data and devices are set up.
    """

    def __init__(self, facts: Mapping[str, str]) -> None:
        self.facts = facts

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        steps, epochs = int(trainer.estimated_stepping_batches), trainer.max_epochs
        facts = dict(self.facts) | _place(trainer) | _data(trainer, self.facts["data"], "train", "val")
        facts["steps"] = f"{steps:,} in {epochs} epochs"
        for group in trainer.optimizers[0].param_groups:
            numbers = sum(parameter.numel() for parameter in group["params"])
            rate = group.get("initial_lr", group["lr"])
            facts[f"trains {group.get('name', '')}".strip()] = (
                f"{len(group['params'])} tensors, {numbers:,} parameters, peak rate {rate:g}"
            )
        if trainer.global_step:
            facts["resumed"] = f"at epoch {trainer.current_epoch}, step {trainer.global_step:,}"
        announce(facts)

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not trainer.optimizers:  # after a training all has been told
            announce(dict(self.facts) | _place(trainer) | _data(trainer, self.facts["data"], "test"))


def _place(trainer: L.Trainer) -> dict[str, str]:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": f"{trainer.world_size} x {name}", "precision": str(trainer.precision)}


def _data(trainer: L.Trainer, name: str, *loaders: str) -> dict[str, str]:
    """Videos and captions by loader."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    sizes = data.sizes()
    counts = (f"{loader} {sizes[loader][0]:,} videos, {sizes[loader][1]:,} captions" for loader in loaders)
    return {"data": f"{name}: {'; '.join(counts)}"}
