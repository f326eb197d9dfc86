"""Latency of the video tower: every reducer, precision and compilation at a batch size takes turns with all others."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.efficiency import interleaved
from retrieval.efficiency.profile.candidates import with_reducer
from retrieval.efficiency.profile.settings import PRECISIONS, Case
from retrieval.model import CLIP

Variant = tuple[str, str, bool]
"""A reducer's label, a precision, and whether it is compiled."""


def variants(model: CLIP, reducers: Mapping[str, Mapping[str, Any]], cases: Sequence[Case]) -> dict[Variant, CLIP]:
    """The models to time; those of one precision share CLIP's weights, which are cast as one does to serve.

    Args:
        model: in fp32, on the device to measure, adapters merged.
        reducers: their configs by label.
        cases: all that will be timed.
    """
    precisions = dict.fromkeys(case.precision for case in cases)
    bases = {name: model if name == "fp32" else deepcopy(model).to(PRECISIONS[name]) for name in precisions}
    wanted = dict.fromkeys(case.variant for case in cases)
    models = {variant: with_reducer(bases[variant[1]], reducers[variant[0]]) for variant in wanted}
    compiled = [models[variant] for variant in wanted if variant[2]]
    if compiled:
        _allow_graphs(len(compiled) * len({case.batch_size for case in cases}))
    for each in compiled:
        each.visual.compile(dynamic=False)
    return models


@torch.inference_mode()
def latencies(
    models: Mapping[Variant, CLIP],
    cases: Sequence[Case],
    *,
    frames: int,
    rounds: int,
    warmup: int,
    finished: Callable[[Case], object],
) -> dict[Case, list[float]]:
    """Seconds that each case takes to encode a batch of videos, in each round; see `interleaved`."""
    calls = {}
    for case in cases:
        model = models[case.variant]
        batch = random_videos(model, case.batch_size, frames)
        calls[case] = partial(model.encode_video, batch.to(PRECISIONS[case.precision]))
    on_cuda = next(iter(models.values())).logit_scale.is_cuda
    synchronize = torch.cuda.synchronize if on_cuda else None
    return interleaved(calls, rounds=rounds, warmup=warmup, synchronize=synchronize, finished=finished)


def random_videos(model: CLIP, videos: int, frames: int) -> Float[Tensor, "{videos} {frames} 3 height width"]:
    """The same random frames every time, on the model's device."""
    shape = (videos, frames, 3, model.image_size, model.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(model.logit_scale.device)


def _allow_graphs(count: int) -> None:
    """Let torch.compile keep a graph of the tower for each model and batch size, where it would give up after 8."""
    config = torch._dynamo.config
    config.recompile_limit = max(count, config.recompile_limit)
