"""Whether a job can work, by its config alone: a model of the right sizes without any weights."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from omegaconf import DictConfig

from retrieval.data import RetrievalDataModule
from retrieval.heads import Head
from retrieval.model import CLIP, load_model
from retrieval.model.weights import is_weights_file
from retrieval.reducers import Reducer, plan
from retrieval.training.building import build_datamodule, built, plain


def outline(config: DictConfig) -> CLIP:
    """The model of a user's own config, on the meta device without any weights."""
    return backbone_of(config.backbone.source, "meta", lambda part: built(plain(config.get(part))))


def backbone_of(source: str, device: str, part: Callable[[str], Any] = lambda part: None) -> CLIP:
    """A model with random weights on a device; open_clip's weights are not fetched.

    A backbone that is a file is read, because it alone tells its sizes.

    Args:
        source: the backbone's, as in `backbone.source`.
        device: where it is made.
        part: gives the `reducer` and the `head`, which are made there too.
    """
    is_file = is_weights_file(source)
    with nullcontext() if is_file else torch.device(device):
        reducer: Reducer | None = part("reducer")
        head: Head | None = part("head")
        return load_model(source if is_file else source.partition("/")[0], reducer, head=head)


def check_job(config: DictConfig) -> RetrievalDataModule:
    """Check a training job's reducer against tower and frames, and its data's settings; the data is not read.

    Raises:
        UserError, HydraException: what cannot work, with the knob and its limit.
    """
    model = outline(config)
    plan(model.visual.reducer, model.visual.shape, config.data.frames)
    return build_datamodule(config, model)
