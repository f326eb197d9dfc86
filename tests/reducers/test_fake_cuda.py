"""Every reducer of conf/reducer on a CUDA device that has no numbers: nothing waits for it, nothing leaves it."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from retrieval.jobs import CONF
from retrieval.reducers import KMedoids, Reducer, Spectral, Tokens, TowerShape
from retrieval.reducers.clustering import kmedoids, spectral
from tests.fake_cuda import WAITS, backward, call, empty, fake_cuda

FRAMES, TOWER = 12, TowerShape(blocks=12, width=32, patches=49, head_width=16)

LOOKS = {"kmedoids": 2, "kmedoids_tempme": 2, "spectral": 3, "rlt": 1}
"""The reducers that may look at the host, and how often when nothing moves after the first eight rounds: k-medoids once
in eight rounds, spectral clustering also before its eigenvectors, which wait for the device themselves, and a ragged
reducer for the length of a batch's longest clip."""


def reducer_of(path: Path) -> Reducer:
    config = OmegaConf.create({"data": {"frames": FRAMES}, "seed": 0, "reducer": OmegaConf.load(path)})
    return instantiate(config.reducer, _convert_="all")


class Hooks(nn.Module):
    """A reducer's hooks in a tower that does nothing else; returns a number that depends on all that is left."""

    def __init__(self, reducer: Reducer) -> None:
        super().__init__()
        reducer.build(TOWER, torch.randn(TOWER.patches, TOWER.width))
        self.reducer = reducer

    def forward(self, x: Tensor, key: torch.dtype) -> Tensor:
        tokens = Tokens(x, torch.ones(*x.shape[:2], 1, device=x.device), clips=FRAMES)
        tokens = self.reducer.before_blocks(tokens, empty(len(x) // FRAMES, FRAMES, 3, 14, 14))
        for block in range(TOWER.blocks):
            tokens = self.reducer.before_attention(tokens, block)
            keys = tokens.x[..., : TOWER.head_width].to(key)
            seen = [torch.ones(*keys.shape[:2], device=x.device)] if self.reducer.wants_class_attention else []
            tokens = self.reducer.after_attention(tokens, keys, block, *seen)
        assert tokens.size.dtype == torch.float32
        return tokens.x.float().sum()


@pytest.fixture(params=sorted((CONF / "reducer").glob("*.yaml")), ids=lambda path: path.stem)
def option(request) -> Path:
    return request.param


@pytest.fixture
def looks(monkeypatch) -> list[int]:
    """Counts the looks at the host, and answers: all is finite, medoids rest at the second look, no clip is padded."""
    counted = []

    def look(*answers: Tensor) -> list[bool]:
        counted.append(len(answers))
        return [True, len(counted) > 1][: len(answers)]

    def live(tokens: Tokens) -> Tensor:
        counted.append(1)
        return torch.arange(tokens.x.shape[1], device=tokens.x.device).expand(len(tokens.x), -1)

    monkeypatch.setattr(Tokens, "live", live)
    monkeypatch.setattr(kmedoids, "look", look)
    monkeypatch.setattr(spectral, "look", look)
    return counted


def test_nothing_waits_for_the_device_in_training(option, looks):
    """Under autocast, on a consumer card; all that is chosen by is float32 or float64."""
    hooks = Hooks(reducer_of(option)).train()
    with fake_cuda((8, 9), autocast=True) as watch:
        x = empty(2 * FRAMES, 1 + TOWER.patches, TOWER.width, grad=True)
        gradients = backward(call(hooks, x, torch.bfloat16))
        assert gradients[x].shape == x.shape
    assert len(gradients) == 1 + sum(each.requires_grad for each in hooks.parameters())
    assert len(looks) <= LOOKS.get(option.stem, 0)
    assert watch.products <= {torch.float32, torch.float64}


@torch.no_grad()
def test_nothing_waits_for_the_device_in_evaluation(option, looks):
    """In half precision, on a card of a data centre."""
    hooks, half = Hooks(reducer_of(option)).eval(), torch.bfloat16
    with fake_cuda((9, 0)):
        call(hooks, empty(FRAMES, 1 + TOWER.patches, TOWER.width, dtype=half), half, dtype=half)
    assert len(looks) <= LOOKS.get(option.stem, 0)


class Peeks(Reducer):
    """Asks the device in one of the ways there are."""

    def __init__(self, way) -> None:
        super().__init__()
        self.way = way

    def before_attention(self, tokens: Tokens, block: int) -> Tokens:
        return tokens.with_x(tokens.x * self.way(tokens.x))


@pytest.mark.parametrize(
    "way",
    [
        lambda x: x.amax().item(),
        lambda x: 1 if x.amax() > 0 else 2,
        lambda x: len(x[x > 0]),
        lambda x: len(x.nonzero()),
        lambda x: x.amax().tolist(),
        lambda x: x.cpu().mean().to(x.device),
        lambda x: torch.tensor([1.0, 2.0], device=x.device).sum(),
        lambda x: torch.arange(3).sum().to(x.device),
    ],
)
def test_a_reducer_that_waits_is_caught(way):
    with fake_cuda(), pytest.raises(WAITS):
        call(Hooks(Peeks(way)), empty(FRAMES, 50, TOWER.width, grad=True), torch.float32)


@pytest.mark.parametrize("name", ["tempme", "kmedoids"])
def test_an_item_in_a_published_reducer_is_caught(name, looks, monkeypatch):
    reducer = reducer_of(CONF / "reducer" / f"{name}.yaml")
    hook = reducer.before_attention

    def asks(tokens: Tokens, block: int) -> Tokens:
        tokens.size.sum().item()
        return hook(tokens, block)

    monkeypatch.setattr(reducer, "before_attention", asks)
    with fake_cuda(), pytest.raises(WAITS):
        call(Hooks(reducer), empty(FRAMES, 50, TOWER.width, grad=True), torch.float32)


@pytest.mark.parametrize("clusters", [KMedoids(), Spectral()])
def test_a_look_that_is_not_among_the_named_ones_is_caught(clusters):
    """The clustering's own one, here not answered for it."""
    with fake_cuda(), pytest.raises(WAITS):
        call(Hooks(clusters), empty(FRAMES, 50, TOWER.width), torch.float32)
