"""The LightningModule: encode, loss, retrieval metrics, optimizer."""

from collections.abc import Callable, Mapping
from math import log
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from retrieval.data.batches import BankBatch, CaptionBatch, TrainingBatch, VideoBatch
from retrieval.efficiency.spent import LiveTokens, Spent
from retrieval.errors import UserError
from retrieval.metrics import RetrievalMetrics
from retrieval.model import CLIP
from retrieval.model.tuning import lora_rank
from retrieval.training.losses import Contrastive
from retrieval.training.micro_batches import Encode, check_micro_batch, encode_in_pieces

MAX_LOGIT_SCALE = log(100)
MakeOptimizer = Callable[[CLIP, nn.Module, int], tuple[Optimizer, LRScheduler]]


class RetrievalModule(L.LightningModule):
    """Trains and evaluates a CLIP on text-video retrieval.

    Args:
        model: the CLIP with its reducer and head, tuned as wished.
        optimizer: from the model, the loss and the number of steps to an optimizer and its schedule; None where nothing
            trains.
        loss: of the pairs of a batch, see `retrieval.training.losses`.
        metrics: the retrieval metrics of an evaluation.
        parts: what `reducer` and `head` were built from (`_target_` and knobs), saved in checkpoints for `load_model`.
        experiment: what else a later evaluation wants to know of the training: choices and knobs, as plain values.
        seed: of the random numbers drawn on the model's side (reducers that sample).
        micro_batch: pairs of a training batch that are encoded at a time, see `retrieval.training.micro_batches`; None:
            all at once.

    Raises:
        UserError: a micro-batch of no pair.
    """

    def __init__(
        self,
        model: CLIP,
        optimizer: MakeOptimizer | None = None,
        loss: nn.Module | None = None,
        metrics: RetrievalMetrics | None = None,
        parts: Mapping[str, Any] | None = None,
        experiment: Mapping[str, Any] | None = None,
        seed: int = 0,
        micro_batch: int | None = None,
    ) -> None:
        check_micro_batch(micro_batch)
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.loss = loss or Contrastive()
        self.metrics = metrics or RetrievalMetrics(similarity=model.head.similarity)
        self.spent = Spent(model) if model.visual.reducer.ragged else None
        self.parts, self.experiment = dict(parts or {}), dict(experiment or {})
        self.seed = seed
        self.micro_batch = micro_batch
        if getattr(self.loss, "own_scale", False):
            model.logit_scale.requires_grad_(False)

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Seed every step's random numbers by seed, rank and step alone, so that a resumed run draws the same."""
        torch.manual_seed(hash((self.seed, self.global_rank, self.current_epoch, batch_index)))

    def on_validation_epoch_start(self) -> None:
        torch.manual_seed(hash((self.seed, self.global_rank, self.current_epoch)))

    def training_step(self, batch: TrainingBatch, batch_index: int) -> Float[Tensor, ""]:
        video = self._encode(self.model.encode_video, batch.frames)
        text = self._encode(self.model.encode_text, batch.token_ids)
        loss = self.loss(self.model.head.similarity, text, video, self.model.logit_scale.exp())
        loss = loss + self.model.visual.reducer.penalty()
        if not loss.isfinite():
            raise UserError(
                f"the loss is {loss.item()} at step {self.global_step}: lower optimizer.lr or raise precision"
            )
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, sync_dist=True)
        return loss

    def _encode(self, encode: Encode, items: Tensor) -> Tensor:
        return encode_in_pieces(encode, items, self.micro_batch, self.model.parameters())

    def optimizer_step(self, *arguments: Any, **knobs: Any) -> None:
        """Step, and keep the logit scale at 100 at the most (CLIP, section 2.5): what a step's checkpoint holds."""
        super().optimizer_step(*arguments, **knobs)
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)

    def validation_step(
        self, batch: VideoBatch | CaptionBatch | BankBatch, batch_index: int, dataloader_idx: int = 0
    ) -> None:
        """Encode a batch of the loader of videos, of captions or of a query bank."""
        match batch:
            case VideoBatch():
                self.metrics.update_videos(self._encoded(batch.frames), batch.video)
            case CaptionBatch():
                self.metrics.update_captions(self.model.encode_text(batch.token_ids), batch.caption, batch.video)
            case BankBatch():
                self.metrics.update_bank(self.model.encode_text(batch.token_ids), batch.bank)

    def _encoded(self, frames: Tensor) -> Tensor:
        """What the head keeps of videos; what they take is added up where it depends on their pixels."""
        if self.spent is None:
            return self.model.encode_video(frames)
        live = LiveTokens()
        kept = self.model.encode_video(frames, live)
        self.spent.update(live, *frames.shape[:2])
        return kept

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def test_step(
        self, batch: VideoBatch | CaptionBatch | BankBatch, batch_index: int, dataloader_idx: int = 0
    ) -> None:
        self.validation_step(batch, batch_index, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> None:
        results: dict[str, Any] = dict(self.metrics.compute())
        self.metrics.reset()
        if self.spent is not None:
            results |= self.spent.compute()
            self.spent.reset()
        self.log_dict({f"{split}/{name}": value for name, value in results.items()}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        if self.optimizer is None:
            raise UserError("this module was made to evaluate: give it an optimizer to train")
        optimizer, schedule = self.optimizer(self.model, self.loss, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _identity(self) -> dict[str, Any]:
        """What the weights belong to, as plain values."""
        return {
            "architecture": self.model.architecture.to_dict(),
            "lora_rank": lora_rank(self.model),
            "reducer": self.parts.get("reducer"),
            "head": self.parts.get("head"),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self._identity() | {"experiment": self.experiment})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model, or of a loss with other parameters.

        Raises:
            UserError: naming what differs, in the checkpoint and here.
        """
        for part, ours in self._identity().items():
            if checkpoint.get(part, ours) != ours:
                raise UserError(f"ckpt_path: the checkpoint's {part} is {checkpoint[part]}, this run's is {ours}")
        theirs = sorted(name for name in checkpoint.get("state_dict", {}) if name.startswith("loss."))
        trained = sorted(f"loss.{name}" for name in self.loss.state_dict())
        if theirs != trained:
            raise UserError(f"ckpt_path: the checkpoint's loss trains {theirs}, this run's {trained}: keep the loss")
