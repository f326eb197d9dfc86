"""A training step: pairs are encoded and contrasted, gradients go back, and the optimizer acts."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from hydra.utils import instantiate
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from retrieval.efficiency.latency import random_videos
from retrieval.efficiency.profile.candidates import Build
from retrieval.efficiency.profile.settings import PRECISIONS, Case
from retrieval.model import CLIP
from retrieval.model.halves import checkpoint_blocks, compile_blocks
from retrieval.training.micro_batches import encode_in_pieces


def training_calls(base: CLIP, builds: Mapping[str, Build], cases: Sequence[Case]) -> dict[Case, Callable[[], None]]:
    """What to time for each case, all of one tuning.

    The models share CLIP's weights, their gradients and what the optimizer keeps of them, so that all fit into memory.

    Args:
        base: the model whose weights they share, without the adapters of a tuning.
        builds: of the reducers with this tuning, by label.
        cases: training steps.
    """
    models = {
        variant: trained(builds[variant[0]], base, *variant[1:])
        for variant in dict.fromkeys((case.reducer, case.compiled, case.checkpointing) for case in cases)
    }
    sizes = {case.batch_size for case in cases}
    kept = next(iter(models.values()))[1].state
    for _, optimizer in models.values():
        optimizer.state = kept
    build = next(iter(builds.values()))
    pairs = {size: random_pairs(base, build, size) for size in sizes}
    return {
        case: partial(
            train_step, *models[case.reducer, case.compiled, case.checkpointing], *pairs[case.batch_size], case
        )
        for case in cases
    }


def trained(build: Build, base: CLIP, compiled: bool, checkpointing: bool | int) -> tuple[CLIP, Optimizer]:
    """The reducer's model on the weights of `base`, tuned, and its optimizer.

    All rates are 0: the optimizer computes what it always does, and every step finds the same weights.
    """
    model = build.on(base).train()
    instantiate(build.tuning)(model)
    model.to(build.device)
    checkpoint_blocks(model, checkpointing)
    loss = nn.Identity()  # the contrastive loss of one process has no parameters
    optimizer, _ = instantiate(build.optimizer, _convert_="all")(model, loss, 1)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    if compiled:
        compile_blocks(model)
    return model, optimizer


def random_pairs(
    model: CLIP, build: Build, count: int
) -> tuple[UInt8[Tensor, "{count} frame 3 height width"], Int[Tensor, "{count} word"]]:
    """Videos and captions to train on."""
    videos = random_videos(model, count, build.frames)
    return videos, torch.ones(count, build.words, dtype=torch.long, device=videos.device)


def train_step(model: CLIP, optimizer: Optimizer, videos: Tensor, captions: Tensor, case: Case) -> None:
    """One step, under autocast where the case's precision is not fp32."""
    optimizer.zero_grad()
    with torch.autocast(videos.device.type, PRECISIONS[case.precision], enabled=case.precision != "fp32"):
        video = encode_in_pieces(model.encode_video, videos, case.micro_batch, model.parameters())
        text = encode_in_pieces(model.encode_text, captions, case.micro_batch, model.parameters())
        logits = model.similarity(text, video)
        right = torch.arange(len(videos), device=videos.device)
        loss = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    loss.backward()
    optimizer.step()
