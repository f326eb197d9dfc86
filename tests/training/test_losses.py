"""Losses of one process: as published, through the similarity of any head. Those of two are in `test_module`."""

import pytest
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from torch.nn import functional as F

from retrieval.errors import UserError
from retrieval.heads.mean import cosine
from retrieval.training.losses import Contrastive, ContrastiveLocal, Sigmoid

SCALE = torch.tensor(100.0)


def pairs(count=5, dim=8):
    return F.normalize(torch.randn(2, count, dim), dim=-1)


@pytest.mark.parametrize("loss", [Contrastive(), ContrastiveLocal()])
def test_cross_entropy_is_open_clips(loss):
    text, video = pairs()
    torch.testing.assert_close(loss(cosine, text, video, SCALE), ClipLoss()(video, text, SCALE))


def test_sigmoid_is_open_clips_from_siglips_start():
    text, video = pairs()
    expected = SigLipLoss()(video, text, torch.tensor(10.0), torch.tensor(-10.0))
    torch.testing.assert_close(Sigmoid()(cosine, text, video, SCALE), expected)


def test_sigmoid_asks_of_every_pair_through_the_heads_similarity():
    loss = Sigmoid(scale=3.0, bias=-1.0)
    similarity = torch.tensor([[0.5, -0.2], [0.1, 0.9]])  # [caption, video]
    expected = -sum(
        torch.tensor((1.0 if t == v else -1.0) * (3.0 * similarity[t, v] - 1.0)).sigmoid().log()
        for t in range(2)
        for v in range(2)
    )
    found = loss(lambda text, video: similarity, torch.zeros(2, 4, 8), torch.zeros(2, 8), SCALE)
    torch.testing.assert_close(found, expected / 2)
    found.backward()
    assert loss.bias.grad != 0
    assert loss.log_scale.grad != 0


def test_sigmoid_sums_in_float32_under_autocast():
    text, video = pairs(64)
    with torch.autocast("cpu", torch.bfloat16):
        found = Sigmoid()(cosine, text, video, SCALE)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, Sigmoid()(cosine, text, video, SCALE), rtol=0.01, atol=0)


def test_a_scale_that_turns_pairs_round_is_refused():
    with pytest.raises(UserError, match=r"loss\.scale=0: must be positive"):
        Sigmoid(scale=0)
