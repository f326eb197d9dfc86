"""Peak memory of encoding a batch of videos and of one training step, with all that the model holds."""

import torch

from retrieval.efficiency import in_clean_memory, peak_memory
from retrieval.efficiency.latency import random_videos
from retrieval.efficiency.profile.candidates import Build
from retrieval.efficiency.profile.settings import PRECISIONS, Case
from retrieval.efficiency.profile.training import random_pairs, train_step, trained
from retrieval.model import CLIP
from retrieval.model.halves import compile_blocks
from retrieval.model.tuning import merge_lora


def peak_of(build: Build, case: Case) -> int:
    """Bytes at the peak of encoding (weights and frames cast) or of a training step (autocast, its optimizer's state
    included): the weights, the frames, and all that the step needs on top.
    """
    return in_clean_memory(build.device, _inference if case.tuning is None else _training, build, case)


def _inference(build: Build, case: Case) -> int:
    model = build.base()
    merge_lora(model)
    model = build.on(model).to(build.device, PRECISIONS[case.precision])
    if case.compiled:
        compile_blocks(model)
    with torch.inference_mode():
        model.encode_video(random_videos(model, _warm_up(case), build.frames))
        before = peak_memory(build.device, reset=True)
        model.encode_video(random_videos(model, case.batch_size, build.frames))
    return _held(model) + peak_memory(build.device) - before


def _training(build: Build, case: Case) -> int:
    model, optimizer = trained(build, build.base(), case.compiled, case.checkpointing)
    train_step(model, optimizer, *random_pairs(model, build, _warm_up(case)), case)
    optimizer.zero_grad()
    optimizer.state.clear()  # so that making it counts, as in the first step
    before = peak_memory(build.device, reset=True)
    train_step(model, optimizer, *random_pairs(model, build, case.batch_size), case)
    return _held(model) + peak_memory(build.device) - before


def _warm_up(case: Case) -> int:
    """Videos that load libraries and kernels before the count: one, or as many as are counted where that compiles."""
    return case.batch_size if case.compiled else 1


def _held(model: CLIP) -> int:
    """Bytes of the weights, which were there before the count began."""
    return sum(weight.numel() * weight.element_size() for weight in model.state_dict().values())
