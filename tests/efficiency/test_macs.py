"""The closed form of cost against published numbers and against PyTorch's counter."""

import pytest
import torch
from torch import nn

from retrieval.efficiency import counted_macs, text_macs, video_macs
from retrieval.reducers.base import Reducer, TowerShape, plan

BASE = {"frames": 12, "width": 768, "mlp_width": 3072, "output_dim": 512}
B32, B16 = BASE | {"patch_size": 32, "patches": 49}, BASE | {"patch_size": 16, "patches": 196}


@pytest.mark.parametrize(("size", "published"), [(B32, 52.91), (B16, 210.76)])
def test_published_gmacs_without_reduction(size, published):
    tower = TowerShape(blocks=12, width=768, patches=size["patches"])
    assert video_macs(plan(Reducer(), tower, 12), **size) / 1e9 == pytest.approx(published, abs=0.005)


def transformer(width, mlp_width, blocks):
    layer = nn.TransformerEncoderLayer(width, 2, mlp_width, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False).eval()


@pytest.mark.parametrize("grad", [True, False])
def test_text_tower_agrees_with_the_counter(grad):
    blocks, projection, words = transformer(32, 64, 3), nn.Linear(32, 16, bias=False), torch.randn(1, 9, 32)
    with torch.set_grad_enabled(grad):
        counted = counted_macs(lambda: projection(blocks(words)[:, -1]))
    assert counted == text_macs(9, width=32, blocks=3, mlp_width=64, output_dim=16)


def test_video_tower_agrees_with_the_counter():
    patchify, blocks, projection = (
        nn.Conv2d(3, 32, 8, 8, bias=False),
        transformer(32, 64, 2),
        nn.Linear(32, 16, bias=False),
    )
    frames = torch.randn(5, 3, 24, 24)

    def tower():
        patches = patchify(frames).flatten(2).mT
        projection(blocks(torch.cat([torch.zeros(5, 1, 32), patches], dim=1))[:, 0])

    expected = video_macs(
        plan(Reducer(), TowerShape(blocks=2, width=32, patches=9), 5),
        frames=5,
        patches=9,
        patch_size=8,
        width=32,
        mlp_width=64,
        output_dim=16,
    )
    assert counted_macs(tower) == expected


def test_lora_and_matching_agree_with_the_counter():
    down, up, x = nn.Linear(32, 4, bias=False), nn.Linear(4, 96, bias=False), torch.randn(7, 32)
    sizes = {"width": 32, "blocks": 1, "mlp_width": 64, "output_dim": 16}
    assert counted_macs(lambda: up(down(x))) == text_macs(7, **sizes, lora_rank=4) - text_macs(7, **sizes)
    assert counted_macs(lambda: x[::2] @ x[1::2].T) == 4 * 3 * 32
