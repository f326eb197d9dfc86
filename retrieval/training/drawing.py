"""The work of `retrieval.draw`, from a composed config to its files."""

from pathlib import Path

import lightning as L
from hydra.utils import instantiate
from matplotlib.backend_bases import FigureCanvasBase
from omegaconf import DictConfig, OmegaConf

from retrieval.data.corpora.base import Record
from retrieval.data.dataset import FrameReader
from retrieval.data.transforms import resize_and_crop
from retrieval.errors import UserError
from retrieval.jobs.announcing import tell
from retrieval.jobs.keys import given_keys
from retrieval.jobs.runs import start_run
from retrieval.model import read_checkpoint
from retrieval.pictures import draw_tokens
from retrieval.training.building import build_model
from retrieval.training.experiment import recalled


def run_draw(config: DictConfig) -> None:
    """From the job's config to its files."""
    L.seed_everything(config.seed, verbose=False)
    _check_format(OmegaConf.to_container(config, resolve=False)["picture"])  # type: ignore[index,call-overload]
    content = read_checkpoint(Path(config.ckpt_path)) if config.ckpt_path else {}
    if "architecture" in content:
        config = recalled(config, "draw", content, config.ckpt_path)
        if "reducer" not in given_keys():
            config.reducer = None  # the checkpoint's own
    model = build_model(config, content)
    sampler, decoder = instantiate(config.data.sampler), instantiate(config.data.decoder)
    reader = FrameReader(config.data.frames, sampler, resize_and_crop(model.image_size), decoder)
    figure = draw_tokens(model, reader(Record(config.video, Path(config.video), (config.video,))), config.blocks)
    start_run(config)
    Path(config.picture).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(config.picture, dpi=200)
    tell(config.picture)


def _check_format(picture: str) -> None:
    """Raise UserError, before anything is computed, unless the file's ending names a format that can be written."""
    ending, known = Path(picture).suffix[1:], sorted(FigureCanvasBase.get_supported_filetypes())
    if ending not in known:
        raise UserError(f"picture={picture}: its ending names no known format; choose one of {', '.join(known)}")
