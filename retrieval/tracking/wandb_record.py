"""After the test, into W&B: a table of retrieval examples, pictures of merged tokens, the checkpoint when asked."""

import lightning as L
import wandb
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure

from retrieval.data.dataset import EvaluationCaptions, EvaluationVideos
from retrieval.data.transforms import normalize
from retrieval.errors import UserError
from retrieval.metrics.examples import retrieval_examples
from retrieval.pictures import draw_reduction
from retrieval.tracking import never_fatal, wandb_run
from retrieval.tracking.thumbnails import Thumbnails
from retrieval.training.building import best_checkpoint, preprocessing
from retrieval.training.module import RetrievalModule

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
        assert isinstance(module, RetrievalModule)
        if any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            with module.metrics.sync_context():  # all processes take part, the first one records
                self._log_examples(trainer, module)
            self._draw_tokens(trainer, module)

    def on_test_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.checkpoint:
            self._log_checkpoint(trainer)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Let W&B show a run that failed as failed, also where other jobs of a sweep go on in this process."""
        if run := wandb_run(trainer):
            run.finish(exit_code=1)

    @never_fatal
    def _log_examples(self, trainer: L.Trainer, module: RetrievalModule) -> None:
        run = wandb_run(trainer)
        if run is None:
            return
        videos, captions = test_data(trainer)
        thumbnails = Thumbnails(videos, self.thumbnail)
        table = wandb.Table(["query", "rank", "video", *(f"top_{place}" for place in range(1, self.top + 1))])
        strips = []
        for example in retrieval_examples(module.metrics.items(), self.queries, self.top):
            query, _ = captions.captions[example.caption]
            found = [thumbnails.shown(video, f" {cosine:.3f}") for video, cosine in example.found]
            none = [None] * (self.top - len(found))
            table.add_data(query, example.rank, thumbnails.shown(example.video), *found, *none)
            strip = thumbnails.strip([example.video, *(video for video, _ in example.found)])
            strips.append(wandb.Image(strip, caption=f"rank {example.rank}: {query}", file_type="jpg"))
        run.log({EXAMPLES: table, FOUND: strips, STEP: trainer.global_step})

    @never_fatal
    def _draw_tokens(self, trainer: L.Trainer, module: RetrievalModule) -> None:
        run = wandb_run(trainer)
        if run is None:
            return
        videos, _ = test_data(trainer)
        figures = [drawn(videos, index, module) for index in range(min(self.pictures, len(videos)))]
        pictures = [
            wandb.Image(figure, caption=videos.records[i].video_id, file_type="jpg")
            for i, figure in enumerate(figures)
            if figure
        ]
        if pictures:
            run.log({TOKENS: pictures, STEP: trainer.global_step})

    @never_fatal
    def _log_checkpoint(self, trainer: L.Trainer) -> None:
        if run := wandb_run(trainer):
            artifact = wandb.Artifact(f"checkpoint-{run.id}", type="model")
            artifact.add_file(best_checkpoint(trainer).best_model_path)
            run.log_artifact(artifact, aliases=["best"])


def test_data(trainer: L.Trainer) -> tuple[EvaluationVideos, EvaluationCaptions]:
    """What the test's loaders of videos and captions read."""
    assert trainer.test_dataloaders is not None
    videos, captions, *_ = trainer.test_dataloaders
    return videos.dataset, captions.dataset


def drawn(videos: EvaluationVideos, index: int, module: RetrievalModule) -> Figure | None:
    """The video's tokens after the blocks that reduce them; None where none does."""
    frames = videos[index]["frames"].unsqueeze(0).to(module.device)
    return draw_reduction(module.model, normalize(frames, preprocessing(module.model))[0])
