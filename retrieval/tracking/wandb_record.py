"""After the test, into W&B: a table of retrieval examples, pictures of merged tokens, the checkpoint when asked."""

from typing import cast

import lightning as L
import wandb
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from retrieval.data.dataset import EvaluationCaptions, EvaluationVideos
from retrieval.errors import UserError
from retrieval.metrics import RetrievalMetrics
from retrieval.metrics.examples import retrieval_examples
from retrieval.model import CLIP
from retrieval.pictures import draw_reduction
from retrieval.tracking.records import never_fatal, wandb_run
from retrieval.tracking.thumbnails import Thumbnails

EXAMPLES, FOUND, TOKENS = "test/examples", "test/found", "test/tokens"
STEP = "trainer/global_step"


class WandbRecord(L.Callback):
    """Does nothing without a W&B logger; what it cannot log is told in a warning and the run goes on.

    Args:
        queries: captions in the table, spread evenly from the best to the worst rank of their video.
        top: videos found for each.
        thumbnail: width and height of the table's pictures in pixels.
        pictures: test videos whose merged tokens are drawn.
        checkpoint: log the best checkpoint as an artifact.
    """

    def __init__(self, *, queries: int, top: int, thumbnail: int, pictures: int, checkpoint: bool) -> None:
        for knob, value in {"queries": queries, "top": top, "thumbnail": thumbnail}.items():
            if value < 1:
                raise UserError(f"callbacks.wandb.{knob}={value}, must be at least 1")
        self.queries, self.top, self.thumbnail = queries, top, thumbnail
        self.pictures, self.checkpoint = pictures, checkpoint

    def on_test_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            return
        metrics, model = cast(RetrievalMetrics, module.metrics), cast(CLIP, module.model)
        with metrics.sync_context():  # all processes take part, the first one records
            if run := wandb_run(trainer):
                self._log_examples(run, trainer, metrics)
                self._draw_tokens(run, trainer, model)

    def on_test_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        run = wandb_run(trainer) if self.checkpoint else None
        if run is not None and isinstance(trainer.checkpoint_callback, ModelCheckpoint):
            self._log_checkpoint(run, trainer.checkpoint_callback.best_model_path)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Let W&B show a run that failed as failed, also where other jobs of a sweep go on in this process."""
        if run := wandb_run(trainer):
            run.finish(exit_code=1)

    @never_fatal
    def _log_examples(self, run: wandb.Run, trainer: L.Trainer, metrics: RetrievalMetrics) -> None:
        videos, captions = test_data(trainer)
        thumbnails = Thumbnails(videos, self.thumbnail)
        table = wandb.Table(["query", "rank", "video", *(f"top_{place}" for place in range(1, self.top + 1))])
        strips = []
        for example in retrieval_examples(metrics.items(), self.queries, self.top):
            query, _ = captions.captions[example.caption]
            found = [thumbnails.image(video, f" {cosine:.3f}") for video, cosine in example.found]
            none = [None] * (self.top - len(found))
            table.add_data(query, example.rank, thumbnails.image(example.video), *found, *none)
            strip = thumbnails.strip([example.video, *(video for video, _ in example.found)])
            strips.append(wandb.Image(strip, caption=f"rank {example.rank}: {query}", file_type="jpg"))
        run.log({EXAMPLES: table, FOUND: strips, STEP: trainer.global_step})

    @never_fatal
    def _draw_tokens(self, run: wandb.Run, trainer: L.Trainer, model: CLIP) -> None:
        videos, _ = test_data(trainer)
        pictures = []
        for video, record in enumerate(videos.records[: self.pictures]):
            frames = Thumbnails(videos, self.thumbnail).frames(video)
            figure = None if frames is None else draw_reduction(model, frames.to(model.logit_scale.device))
            if figure is not None:  # None too where the reducer leaves all tokens as they are
                pictures.append(wandb.Image(figure, caption=record.video_id, file_type="jpg"))
        if pictures:
            run.log({TOKENS: pictures, STEP: trainer.global_step})

    @never_fatal
    def _log_checkpoint(self, run: wandb.Run, path: str) -> None:
        artifact = wandb.Artifact(f"checkpoint-{run.id}", type="model")
        artifact.add_file(path)
        run.log_artifact(artifact, aliases=["best"])


def test_data(trainer: L.Trainer) -> tuple[EvaluationVideos, EvaluationCaptions]:
    """What the test's loaders of videos and captions read."""
    assert trainer.test_dataloaders is not None
    videos, captions, *_ = trainer.test_dataloaders
    return videos.dataset, captions.dataset
