"""Whether a job can work, by its config alone: a model of the right sizes without any weights."""

from contextlib import nullcontext

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from retrieval.data import RetrievalDataModule
from retrieval.model import CLIP, load_model
from retrieval.model.loading import WEIGHT_FILES
from retrieval.reducers import plan
from retrieval.training.building import build_datamodule, plain


def outline(config: DictConfig, device: str = "meta") -> CLIP:
    """The config's model with random weights, on the meta device without any; open_clip's weights are not fetched.

    A backbone that is a file is read, because it alone tells its sizes.
    """
    source = config.backbone.source
    is_file = source.endswith(WEIGHT_FILES)
    with nullcontext() if is_file else torch.device(device):
        reducer = instantiate(plain(config.reducer), _convert_="all")
        return load_model(source if is_file else source.partition("/")[0], reducer)


def check_job(config: DictConfig) -> RetrievalDataModule:
    """Check a training job's reducer against tower and frames, and its data's settings; the data is not read.

    Raises:
        ValueError, InstantiationException, OSError: what cannot work, with the knob and its limit.
    """
    model = outline(config)
    plan(model.visual.reducer, model.visual.shape, config.data.frames)
    return build_datamodule(config, model)
