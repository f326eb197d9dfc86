"""Latency of the video tower: every reducer, precision and compilation at a batch size takes turns with all others."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial

import torch

from retrieval.efficiency.latency import interleaved, random_videos
from retrieval.efficiency.profile.candidates import Build
from retrieval.efficiency.profile.settings import PRECISIONS, Case
from retrieval.model import CLIP

Variant = tuple[str, str, bool]
"""A reducer's label, a precision, and whether it is compiled."""


def variants(model: CLIP, candidates: Mapping[str, Build], cases: Sequence[Case]) -> dict[Variant, CLIP]:
    """The models to time; those of one precision share CLIP's weights, which are cast as one does to serve.

    Args:
        model: in fp32, on the device to measure, adapters merged.
        candidates: what puts the reducers on it, by label.
        cases: all that will be timed.
    """
    precisions = dict.fromkeys(case.precision for case in cases)
    bases = {name: model if name == "fp32" else deepcopy(model).to(PRECISIONS[name]) for name in precisions}
    wanted = dict.fromkeys(case.variant for case in cases)
    models = {variant: candidates[variant[0]].on(bases[variant[1]]) for variant in wanted}
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
    """Seconds that each case of one batch size takes to encode a batch, in each round; see `interleaved`."""
    batch = random_videos(next(iter(models.values())), cases[0].batch_size, frames)
    calls = {case: partial(models[case.variant].encode_video, batch) for case in cases}
    return interleaved(calls, rounds=rounds, warmup=warmup, device=batch.device, finished=finished)


def _allow_graphs(count: int) -> None:
    """Let torch.compile keep a graph of the tower for each model and batch size, where it would give up after 8.

    `torch.compiler.config` has this limit in the newest PyTorch alone.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(count, config.recompile_limit)
