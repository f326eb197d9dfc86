"""The LightningModule: encode, contrastive loss, retrieval metrics, optimizer."""

from collections.abc import Callable
from math import log
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from open_clip.loss import ClipLoss
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from retrieval.data.loading import Batch
from retrieval.errors import UserError
from retrieval.metrics import RetrievalMetrics
from retrieval.model import CLIP
from retrieval.model.tuning import lora_rank

MAX_LOGIT_SCALE = log(100)


class RetrievalModule(L.LightningModule):
    """Trains and evaluates a CLIP on text-video retrieval.

    Args:
        model: the CLIP with its reducer, tuned as wished.
        optimizer: from the model and the number of steps to an optimizer and its schedule; None where nothing trains.
        metrics: the retrieval metrics of an evaluation.
        reducer_config: what the reducer was built from (`_target_` and knobs), saved in checkpoints for `load_model`.
        seed: of the random numbers drawn on the model's side (reducers that sample).
        compile: compile both towers with torch.compile.
    """

    def __init__(
        self,
        model: CLIP,
        optimizer: Callable[[CLIP, int], tuple[Optimizer, LRScheduler]] | None = None,
        metrics: RetrievalMetrics | None = None,
        reducer_config: dict[str, Any] | None = None,
        seed: int = 0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.metrics = metrics or RetrievalMetrics()
        self.reducer_config = reducer_config
        self.seed = seed
        if compile:
            model.visual.compile()
            model.text.compile()

    def setup(self, stage: str) -> None:
        """Ask the data for a query bank where the metrics normalise by one, before anything is encoded.

        Raises:
            UserError: the data has none to give.
        """
        if self.metrics.takes_bank:
            self.trainer.datamodule.setup_bank()  # type: ignore[attr-defined]

    def on_train_epoch_start(self) -> None:
        """Draw every epoch's random numbers from seed, rank and epoch alone, so that a resumed run draws the same."""
        torch.manual_seed(hash((self.seed, self.global_rank, self.current_epoch)))

    def training_step(self, batch: Batch, batch_index: int) -> Float[Tensor, ""]:
        video = F.normalize(self.model.encode_video(batch["frames"]), dim=-1)
        text = F.normalize(self.model.encode_text(batch["token_ids"]), dim=-1)
        loss = self.contrastive_loss(video, text)
        if not loss.isfinite():
            raise UserError(
                f"the loss is {loss.item()} at step {self.global_step}: lower optimizer.lr or raise precision"
            )
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, sync_dist=True)
        return loss

    def contrastive_loss(self, video: Float[Tensor, "pair dim"], text: Float[Tensor, "pair dim"]) -> Float[Tensor, ""]:
        """Symmetric cross-entropy over the pairs of all ranks, with gradients through all of them."""
        loss = ClipLoss(gather_with_grad=True, rank=self.global_rank, world_size=self.trainer.world_size)
        return loss(video, text, self.model.logit_scale.exp())

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        """Keep the logit scale at 100 at the most (CLIP, section 2.5)."""
        self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)

    def validation_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Encode a batch of the loader of videos, of captions or of a query bank."""
        if "frames" in batch:
            self.metrics.update_videos(self.model.encode_video(batch["frames"]), batch["video"])
            return
        text = self.model.encode_text(batch["token_ids"])
        if "bank" in batch:
            self.metrics.update_bank(text, batch["bank"])
        else:
            self.metrics.update_captions(text, batch["caption"], batch["video"])

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def test_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        self.validation_step(batch, batch_index, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> None:
        results = self.metrics.compute()
        self.metrics.reset()
        self.log_dict({f"{split}/{name}": value for name, value in results.items()}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        if self.optimizer is None:
            raise UserError("this module was made to evaluate: give it an optimizer to train")
        optimizer, schedule = self.optimizer(self.model, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _identity(self) -> dict[str, Any]:
        """What the weights belong to, as plain values."""
        return {
            "architecture": self.model.architecture.to_dict(),
            "lora_rank": lora_rank(self.model),
            "reducer": self.reducer_config,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self._identity())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model.

        Raises:
            UserError: naming what differs, in the checkpoint and here.
        """
        for part, ours in self._identity().items():
            if checkpoint[part] != ours:
                raise UserError(f"ckpt_path: the checkpoint's {part} is {checkpoint[part]}, this run's is {ours}")
