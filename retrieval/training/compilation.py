"""When a training or an evaluation compiles its model: as soon as it is known how much there is to do."""

from collections.abc import Mapping
from typing import Any, cast

import lightning as L

from retrieval.errors import UserError
from retrieval.model import CLIP
from retrieval.model.compiling import compile_towers

BACKWARD = 2
"""Times the cost of going forward: gradients of activations and, at the most, of weights."""


class Compilation(L.Callback):
    """Compiles the towers as the knob `compile` says, on this device and for the work that is its own.

    Args:
        choice: see `retrieval.model.compiling.compile_towers`.
        costs: `video_gmacs` and `text_gmacs`, see `retrieval.efficiency.cost`.

    Raises:
        UserError: in a training, CUDA graphs with several passes to a step: the next one overwrites their gradients.
    """

    def __init__(self, choice: str | bool, costs: Mapping[str, Any]) -> None:
        self.choice = choice
        self.video, self.caption = costs["video_gmacs"], costs["text_gmacs"]

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        if self.choice == "reduce-overhead" and (module.micro_batch or trainer.accumulate_grad_batches > 1):
            raise UserError(
                "compile=reduce-overhead: CUDA graphs take one pass a step, and micro_batch and "
                "trainer.accumulate_grad_batches take several: leave these out, or take compile=true"
            )
        loader: Any = trainer.train_dataloader
        pairs = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches * loader.batch_size
        compile_towers(cast(CLIP, module.model), self.choice, pairs * (self.video + self.caption) * (1 + BACKWARD))

    def on_test_start(self, trainer: L.Trainer, module: Any) -> None:
        if not trainer.optimizers:  # after a training all has been decided
            videos, captions = trainer.datamodule.sizes()["test"]  # type: ignore[attr-defined]
            gmacs = videos * self.video + captions * self.caption
            compile_towers(cast(CLIP, module.model), self.choice, gmacs / trainer.world_size)
