"""Whether a job can work, by its config alone: a model of the right sizes without any weights."""

from contextlib import nullcontext

import torch
from omegaconf import DictConfig

from retrieval.data import RetrievalDataModule
from retrieval.jobs.knobs import check_knobs
from retrieval.model import CLIP, load_model
from retrieval.model.weights import is_weights_file
from retrieval.reducers import plan
from retrieval.training.building import build_datamodule, built, plain


def outline(config: DictConfig, device: str = "meta") -> CLIP:
    """The config's model with random weights, on the meta device without any; open_clip's weights are not fetched.

    A backbone that is a file is read, because it alone tells its sizes.
    """
    source = config.backbone.source
    is_file = is_weights_file(source)
    with nullcontext() if is_file else torch.device(device):
        reducer, head = (built(plain(config.get(part))) for part in ("reducer", "head"))
        return load_model(source if is_file else source.partition("/")[0], reducer, head=head)


def check_job(config: DictConfig) -> RetrievalDataModule:
    """Check a training job's reducer against tower and frames, and its data's settings; the data is not read.

    Raises:
        UserError, HydraException: what cannot work, with the knob and its limit.
    """
    check_knobs(config)
    model = outline(config)
    plan(model.visual.reducer, model.visual.shape, config.data.frames)
    return build_datamodule(config, model)
