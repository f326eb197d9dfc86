"""The shifts: which channels come from which frame; no token is lost."""

import pytest
import torch

from retrieval.reducers import Layout, TemporalShift, Tokens, TokenShift, TowerShape

X = torch.randn(2 * 3, 5, 16)


def tokens() -> Tokens:
    return Tokens(X, torch.ones(6, 5, 1), clips=3)


def shifted(x: torch.Tensor) -> torch.Tensor:
    """By definition, frame by frame, for the 16 channels here: 2 from the next frame, 2 from the one before."""
    videos = x.unflatten(0, (2, 3)).clone()
    result = videos.clone()
    for frame in range(3):
        result[:, frame, :, :2] = videos[:, frame + 1, :, :2] if frame < 2 else 0
        result[:, frame, :, 2:4] = videos[:, frame - 1, :, 2:4] if frame > 0 else 0
    return result.flatten(0, 1)


def test_patches_take_channels_of_their_neighbours_in_time():
    moved = TemporalShift(block=[2, 6]).before_attention(tokens(), 6).x
    assert torch.equal(moved[:, 1:], shifted(X)[:, 1:])
    assert torch.equal(moved[:, :1], X[:, :1])


def test_class_tokens_take_channels_of_their_neighbours_before_attention_and_mlp():
    reducer = TokenShift(block=6)
    for moved in (reducer.before_attention(tokens(), 6).x, reducer.after_attention(tokens(), X, 6).x):
        assert torch.equal(moved[:, :1], shifted(X)[:, :1])
        assert torch.equal(moved[:, 1:], X[:, 1:])


@pytest.mark.parametrize("shift", [TemporalShift, TokenShift])
def test_without_a_list_every_block_shifts(shift):
    reducer = shift(block=None)
    reducer.build(TowerShape(blocks=2, width=16, patches=4), torch.randn(4, 16))
    for block in range(2):
        assert not torch.equal(reducer.before_attention(tokens(), block).x, X)


@pytest.mark.parametrize("shift", [TemporalShift, TokenShift])
def test_other_blocks_and_all_counts_are_left_alone(shift):
    reducer = shift(block=6)
    assert reducer.before_attention(tokens(), 5).x is X
    assert reducer.after_attention(tokens(), X, 5).x is X
    layout = Layout(clips=3, patches=4)
    assert reducer.layout_after_attention(reducer.layout_before_attention(layout, 6), 6) == layout


def test_patches_are_not_shifted_again_before_the_mlp():
    assert TemporalShift(block=6).after_attention(tokens(), X, 6).x is X


@pytest.mark.parametrize("shift", [TemporalShift, TokenShift])
def test_blocks_that_the_tower_lacks_are_refused(shift):
    with pytest.raises(ValueError, match=r"reducer.block=\[12\], but the video tower has blocks 0 to 11"):
        shift(block=12).build(TowerShape(blocks=12, width=16, patches=4), torch.randn(4, 16))
