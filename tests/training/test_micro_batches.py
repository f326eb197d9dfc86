"""Micro-batches: gradients of the whole batch, both passes of a piece alike, and never more than a piece in memory."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from retrieval import load_model
from retrieval.data.batches import TrainingBatch
from retrieval.errors import UserError
from retrieval.heads import Mean, SequenceTransformer, TokenWise
from retrieval.model.tuning import frozen, full, lora
from retrieval.reducers import RLT, Chain, DiffRate, KMedoids, SparseSampling, TempMe, ToMe
from retrieval.training.losses import Contrastive, ContrastiveLocal, Sigmoid
from retrieval.training.module import RetrievalModule
from tests.training.test_module import quiet_trainer, sgd

FRAMES = 2
joining = partial(TempMe, frames=FRAMES, join_blocks=[8], join_clips=[2])
clustering = partial(KMedoids, frames=FRAMES, num_segments=1, num_clusters=16)
sampling = partial(SparseSampling, frames=FRAMES, num_segments=1, num_clusters=16)  # a random one of each three patches
running = partial(RLT, frames=FRAMES, threshold=85.0)  # the mean difference of two random bytes
CASES = {
    "none": (lambda: None, Mean, full, Contrastive),
    "tempme": (joining, TokenWise, lora, partial(Sigmoid, scale=3, bias=0)),
    "kmedoids": (clustering, SequenceTransformer, full, ContrastiveLocal),
    "sparse_sampling": (sampling, TokenWise, lora, Contrastive),
    "rlt": (lambda: Chain([running(), ToMe(2)]), TokenWise, lora, Contrastive),
    "diffrate": (partial(DiffRate, learn=True, budget=0.5), Mean, full, Contrastive),
    "frozen": (sampling, SequenceTransformer, frozen, Contrastive),
}


def batch(pairs: int) -> TrainingBatch:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (pairs, FRAMES, 3, 40, 40), generator=generator, dtype=torch.uint8)
    return TrainingBatch(frames, torch.randint(1, 49408, (pairs, 32), generator=generator), [])


def module(case: str, **knobs) -> RetrievalModule:
    reducer, head, tuning, loss = CASES[case]
    torch.manual_seed(0)
    model = load_model("ViT-tiny-8", reducer(), head=head()).train()
    tuning(model)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # 0 at the start, and then nothing reaches the other half
            nn.init.normal_(parameter, std=0.05)
    return RetrievalModule(model, partial(sgd), loss=loss(), **knobs)


def step(training: RetrievalModule, pairs: int, size: int | None):
    """The loss and its gradients, by parameter; the same random numbers every time."""
    training.micro_batch = size
    training.zero_grad(set_to_none=True)
    torch.manual_seed(7)
    loss = training.training_step(batch(pairs), 0)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in training.named_parameters() if p.grad is not None}


def take_one_step(training: RetrievalModule, pairs: int, **knobs) -> None:
    """By Lightning's trainer."""
    quiet_trainer(**knobs).fit(training, DataLoader([batch(pairs)], batch_size=None))


def furthest(gradients, expected) -> float:
    """The largest relative difference of a parameter's gradient; those that are 0 but for rounding do not count."""
    assert gradients.keys() == expected.keys()
    least = joined(expected).norm() * torch.finfo(joined(expected).dtype).eps ** 0.5
    seen = [name for name, each in expected.items() if each.norm() > least]
    assert len(seen) > 0.7 * len(expected)
    return max(float((gradients[name] - expected[name]).norm() / expected[name].norm()) for name in seen)


def joined(gradients) -> torch.Tensor:
    return torch.cat([each.flatten() for each in gradients.values()])


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("case", CASES)
def test_pieces_give_the_gradients_of_the_whole_batch(case):
    training = module(case).double()
    (loss, gradients), (whole, expected) = step(training, 4, 3), step(training, 4, None)
    assert loss == pytest.approx(float(whole), rel=1e-12)
    assert furthest(gradients, expected) < (1e-6 if case == "diffrate" else 1e-12)  # it counts in float32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("size", [1, 3, 16])
@pytest.mark.parametrize("case", CASES)
def test_a_batch_of_16_in_pieces_of_any_size(case, size):
    training = module(case)
    (loss, gradients), (whole, expected) = step(training, 16, size), step(training, 16, None)
    assert loss == pytest.approx(float(whole), rel=1e-6)
    assert (joined(gradients) - joined(expected)).norm() < 1e-6 * joined(expected).norm()
    assert furthest(gradients, expected) < 3e-6  # sums of float32 in another order


def test_no_more_than_a_piece_is_made_floats_at_a_time(monkeypatch):
    training = module("none", micro_batch=3)
    sizes, pixels = [], training.model.pixels
    monkeypatch.setattr(training.model, "pixels", lambda frames: sizes.append(len(frames)) or pixels(frames))
    take_one_step(training, pairs=8)
    assert sizes == [3, 3, 2, 2, 3, 3]  # the second passes begin with the last piece


class Weighing(Mean):
    """Its one parameter weighs both what is kept of a video and what is compared with it."""

    def build(self, dim, positions, blocks):
        self.weight = nn.Parameter(torch.eye(dim))

    def video(self, clips):
        return super().video(clips) @ self.weight

    def similarity(self, text, video):
        return super().similarity(text @ self.weight, video)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_both_passes_of_a_piece_are_alike(precision, monkeypatch):
    """Random numbers, autocast and the default type of numbers are those of the first pass."""
    torch.manual_seed(0)
    model = load_model("ViT-tiny-8", sampling(), head=Weighing()).train()
    training, kept = RetrievalModule(model, partial(sgd), micro_batch=3), []
    for name in ("encode_video", "encode_text"):
        encode = getattr(model, name)
        monkeypatch.setattr(model, name, lambda items, encode=encode: kept.append(encode(items)) or kept[-1])
    take_one_step(training, pairs=4, precision=precision)
    assert len(kept) == 8
    for first, second in zip(kept[:4], reversed(kept[4:]), strict=True):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_autocast_leads_every_gradient_to_a_parameter_that_is_used_twice():
    """The copy in bfloat16 that a first pass leaves in the cache leads nowhere."""
    torch.manual_seed(0)
    model = load_model("ViT-tiny-8", head=Weighing()).train()
    training = RetrievalModule(model)
    with torch.autocast("cpu", torch.bfloat16):
        gradients, expected = (step(training, 2, size)[1] for size in (1, None))
    weight = "model.head.weight"
    assert (gradients[weight] - expected[weight]).norm() < 0.05 * expected[weight].norm()
    assert (joined(gradients) - joined(expected)).norm() < 0.05 * joined(expected).norm()


@pytest.mark.parametrize("size", [0, -4, True])
def test_a_piece_of_nothing_is_refused(size):
    with pytest.raises(UserError, match=rf"micro_batch={size}: at least 1 pair at a time, or null"):
        RetrievalModule(load_model("ViT-tiny-8"), micro_batch=size)
