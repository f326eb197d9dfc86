"""How an index's model computes: in another precision, compiled, and told what it cannot do."""

import pytest
import torch

from retrieval import load_model
from retrieval.errors import UserError
from retrieval.reducers import TempMe
from retrieval.search.encoder import Encoder

CPU = torch.device("cpu")


@pytest.fixture
def own():
    """An encoder that may be changed."""
    torch.manual_seed(1)
    return Encoder(load_model("ViT-tiny-8", TempMe(4, join_blocks=[8, 9], join_clips=[2, 2])), 4, words=12)


@pytest.fixture
def frames(own):
    size = own.model.image_size
    return torch.randint(0, 256, (2, 4, 3, size, size), dtype=torch.uint8)


def test_bfloat16_is_near_and_is_not_taken_unasked(own, frames):
    plain = own.videos(frames)
    own.precision = "bf16-mixed"
    torch.testing.assert_close(own.videos(frames), plain, rtol=0, atol=0)  # from `to` on
    near = own.to(CPU).videos(frames)
    assert near.dtype == torch.float32
    assert not torch.equal(near, plain)
    assert torch.cosine_similarity(near, plain, dim=-1).min() > 0.99


def test_blocks_are_compiled_where_it_is_asked_for(own, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **knobs: function)
    own.to(CPU)
    assert not any(block.compiled for block in own.model.visual.blocks)
    own.compile = True
    own.to(CPU)
    assert all(block.compiled for block in own.model.visual.blocks)


@pytest.mark.parametrize(("knob", "value"), [("precision", "16-true"), ("compile", "auto")])
def test_other_choices_are_refused(own, knob, value):
    setattr(own, knob, value)
    with pytest.raises(UserError, match=f"{knob}={value}: one of"):
        own.to(CPU)
