"""Latency of the video tower: every reducer, precision and compilation at a batch size takes turns with all others."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor

from retrieval.efficiency.latency import random_videos
from retrieval.efficiency.profile.candidates import Build
from retrieval.efficiency.profile.settings import PRECISIONS, Case
from retrieval.model import CLIP
from retrieval.model.halves import compile_blocks


def encoding_calls(model: CLIP, builds: Mapping[str, Build], cases: Sequence[Case]) -> dict[Case, Callable[[], None]]:
    """What to time for each case; models of one precision share CLIP's weights, which are cast as one does to serve.

    Args:
        model: in fp32, on the device to measure, adapters merged.
        builds: what puts the reducers on it, by label.
        cases: all that will be timed.
    """
    precisions = dict.fromkeys(case.precision for case in cases)
    bases = {name: model if name == "fp32" else deepcopy(model).to(PRECISIONS[name]) for name in precisions}
    models = {
        variant: _variant(builds[variant[0]].on(bases[variant[1]]), compiled=variant[2])
        for variant in dict.fromkeys((case.reducer, case.precision, case.compiled) for case in cases)
    }
    sizes = {case.batch_size for case in cases}
    frames = next(iter(builds.values())).frames
    batches = {size: random_videos(model, size, frames) for size in sizes}
    return {
        case: partial(_encode, models[case.reducer, case.precision, case.compiled], batches[case.batch_size])
        for case in cases
    }


def _variant(model: CLIP, compiled: bool) -> CLIP:
    if compiled:
        compile_blocks(model)
    return model


@torch.inference_mode()
def _encode(model: CLIP, videos: Tensor) -> None:
    model.encode_video(videos)
