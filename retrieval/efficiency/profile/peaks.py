"""Peak memory of encoding a batch of videos and of one training step, with all that the model holds."""

import torch
from hydra.utils import instantiate
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer

from retrieval.efficiency import in_clean_memory, peak_memory
from retrieval.efficiency.latency import random_videos
from retrieval.efficiency.profile.candidates import Build
from retrieval.efficiency.profile.settings import PRECISIONS, Case
from retrieval.model import CLIP
from retrieval.model.tuning import merge_lora


def peak_of(stage: str, build: Build, case: Case) -> int:
    """Bytes at the peak of `inference` (weights and frames cast) or of a `training` step (autocast, its optimizer's
    state included): the weights, and all that the step needs on top.
    """
    return in_clean_memory(build.device, {"inference": _inference, "training": _training}[stage], build, case)


def _inference(build: Build, case: Case) -> int:
    model = build.base()
    merge_lora(model)
    model = build.on(model).to(build.device, PRECISIONS[case.precision])
    if case.compiled:
        model.visual.compile(dynamic=False)
    videos = random_videos(model, case.batch_size, build.frames)
    with torch.inference_mode():
        model.encode_video(videos[: _warm_up(case)])
        before = peak_memory(build.device, reset=True)
        model.encode_video(videos)
    return _held(model) + peak_memory(build.device) - before


def _training(build: Build, case: Case) -> int:
    model = build.on(build.base()).train()
    instantiate(build.tuning)(model)
    model.to(build.device)
    loss = nn.Identity()  # the contrastive loss of one process has no parameters
    optimizer, _ = instantiate(build.optimizer, _convert_="all")(model, loss, 1)
    if case.compiled:
        model.visual.compile(dynamic=False)
        model.text.compile(dynamic=False)
    videos = random_videos(model, case.batch_size, build.frames)
    captions = torch.ones(case.batch_size, build.words, dtype=torch.long, device=build.device)
    _step(model, optimizer, videos[: _warm_up(case)], captions[: _warm_up(case)], case.precision)
    optimizer.zero_grad()
    optimizer.state.clear()  # so that making it counts, as in the first step
    before = peak_memory(build.device, reset=True)
    _step(model, optimizer, videos, captions, case.precision)
    return _held(model) + peak_memory(build.device) - before


def _step(model: CLIP, optimizer: Optimizer, videos: torch.Tensor, captions: torch.Tensor, precision: str) -> None:
    with torch.autocast(videos.device.type, PRECISIONS[precision], enabled=precision != "fp32"):
        logits = model.similarity(model.encode_text(captions), model.encode_video(videos))
        right = torch.arange(len(videos), device=videos.device)
        loss = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    loss.backward()
    optimizer.step()


def _warm_up(case: Case) -> int:
    """Videos that load libraries and kernels before the count: one, or as many as the graph is compiled for."""
    return case.batch_size if case.compiled else 1


def _held(model: CLIP) -> int:
    """Bytes of the weights, which were there before the count began."""
    return sum(weight.numel() * weight.element_size() for weight in model.state_dict().values())
