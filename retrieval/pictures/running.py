"""The work of `retrieval.draw`, from a composed config to its files."""

from pathlib import Path

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig

from retrieval.data.corpora.base import Record
from retrieval.data.dataset import FrameReader
from retrieval.data.transforms import resize_and_crop
from retrieval.jobs.announcing import tell
from retrieval.jobs.runs import start_run
from retrieval.pictures import draw_tokens
from retrieval.training.building import build_model


def run_draw(config: DictConfig) -> None:
    """From the job's config to its files."""
    L.seed_everything(config.seed)
    model = build_model(config)
    sampler, decoder = instantiate(config.data.sampler), instantiate(config.data.decoder)
    reader = FrameReader(config.data.frames, sampler, resize_and_crop(model.image_size), decoder)
    figure = draw_tokens(model, reader(Record(config.video, Path(config.video), (config.video,))), config.blocks)
    start_run(config)
    Path(config.picture).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(config.picture, dpi=200)
    tell(config.picture)
