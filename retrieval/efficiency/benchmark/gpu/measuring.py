"""Time and peak memory of a case of the GPU's benchmark, and what the device can do at best."""

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch.nn import functional as F

from retrieval import load_model
from retrieval.efficiency.benchmark.gpu.cases import COMPILED, FP32, GRAPHS, STRAIGHTFORWARD, Case, reducer_of
from retrieval.efficiency.benchmark.materialised import materialise
from retrieval.efficiency.cost import cost
from retrieval.efficiency.latency import random_videos, timed
from retrieval.efficiency.memory import peak_memory
from retrieval.model import CLIP
from retrieval.model.attention import attention_by_channels, attention_by_mask
from retrieval.model.compiling import capture_towers
from retrieval.model.halves import compile_blocks

_log = logging.getLogger(__name__)
WORDS = 32
SECONDS, MOST_ROUNDS = 0.5, 10
"""How long a case is timed: for so long, but no more rounds, and one at least."""
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        seconds: of a batch, the median; None where it was not measured, and `note` says why.
        peak_bytes: the most that tensors held, weights and optimizer included; None on the CPU.
        gmacs: 10^9 multiply-accumulates of a batch; a training step counts its forward pass three times.
    """

    case: Case
    seconds: float | None = None
    peak_bytes: int | None = None
    gmacs: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        return f"{self.case}: {self.note or f'{1000 * (self.seconds or 0):.1f} ms'}"

    @property
    def precision(self) -> str:
        """That of the matrix products."""
        return "fp32" if self.case.way in (FP32, STRAIGHTFORWARD) else "bf16"


def base(backbone: str, device: str) -> CLIP:
    """The model with random weights, whose cost and speed are those of any others."""
    return load_model(backbone).to(device)


def measure(case: Case, model: CLIP, device: str) -> Result:
    """Time and peak memory of a case on the weights of `model`; what breaks is told, and the next case can follow."""
    try:
        mine = built(case, model)
        costs = cost(mine, case.frames, WORDS)
        call = _training(case, mine) if case.stage == "training step" else _inference(case, mine)
        seconds, peak = _measured(call, device)
    except torch.OutOfMemoryError:
        return Result(case, note="out of memory")
    except RuntimeError as error:  # whatever compilers and kernels raise
        _log.exception("%s", case)
        return Result(case, note=f"failed: {' '.join(str(error).split())[:80]}")
    finally:
        model.zero_grad()
        if case.way == GRAPHS:
            torch._dynamo.reset()  # gives back the memory of its graphs
    gmacs = costs["video_gmacs"]
    if case.stage == "training step":
        gmacs = 3 * (gmacs + costs["text_gmacs"])
    return Result(case, seconds, peak, case.batch * gmacs)


def built(case: Case, model: CLIP) -> CLIP:
    """The model of a case, which has the weights of another and in inference their type."""
    mine = model.with_reducer(reducer_of(case))
    if case.way == STRAIGHTFORWARD:
        materialise(mine)
    if case.stage == "inference" and case.way not in (FP32, STRAIGHTFORWARD):
        mine = deepcopy(mine).to(torch.bfloat16)
    if case.way in (COMPILED, GRAPHS):
        (capture_towers if case.way == GRAPHS else compile_blocks)(mine)  # where that fails, so does the case
    return mine


def _inference(case: Case, model: CLIP) -> Callable[[], object]:
    videos = random_videos(model, case.batch, case.frames)

    @torch.no_grad()
    def encode() -> None:
        model.encode_video(videos)

    return encode


def _training(case: Case, model: CLIP) -> Callable[[], object]:
    """A step of all parameters by AdamW, at a rate of 0, so that all cases find the same weights."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    videos = random_videos(model, case.batch, case.frames)
    captions = torch.ones(case.batch, WORDS, dtype=torch.long, device=videos.device)
    right = torch.arange(case.batch, device=videos.device)
    half = case.way not in (FP32, STRAIGHTFORWARD)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(videos.device.type, torch.bfloat16, enabled=half):
            logits = model.similarity(model.encode_text(captions), model.encode_video(videos))
            loss = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
        loss.backward()
        optimizer.step()

    return step


def _measured(call: Callable[[], object], device: str) -> tuple[float, int | None]:
    """Median of the seconds, and the peak on CUDA; two calls before them load, compile and capture."""
    for _ in range(2):
        call()
    if device == "cuda":
        peak_memory(device, reset=True)
    rounds: list[float] = []
    while not rounds or (sum(rounds) < SECONDS and len(rounds) < MOST_ROUNDS):
        rounds.append(timed(call, device))
    return median(rounds), peak_memory(device) if device == "cuda" else None


def product_rates(device: str) -> dict[str, float]:
    """10^9 multiply-accumulates a second of a large matrix product, by precision: what is called the device's peak."""
    side = 8192 if device == "cuda" else 512
    rates = {}
    for name, dtype in TYPES.items():
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        seconds, _ = _measured(partial(torch.mm, a, b), device)
        rates[name] = side**3 / seconds / 1e9
    return rates


def biased_attention(device: str) -> dict[tuple[int, int], tuple[float, float]]:
    """Seconds of proportional attention in bf16 by mask and by channels, by clips and tokens of each."""
    shapes = [(1536, 50), (384, 197), (32, 600)] if device == "cuda" else [(2, 50)]
    seconds = {}
    for clips, tokens in shapes:
        q, k, v = (torch.randn(clips, 12, tokens, 64, device=device, dtype=torch.bfloat16) for _ in range(3))
        bias = torch.rand(clips, tokens, 1, device=device)
        ways = (attention_by_mask, attention_by_channels)
        by_mask, by_channels = (_measured(partial(way, q, k, v, bias), device)[0] for way in ways)
        seconds[clips, tokens] = (by_mask, by_channels)
    return seconds
