"""Pictures stand where a reducer changes the tokens."""

import pytest
import torch

from retrieval import load_model
from retrieval.pictures import draw_reduction
from retrieval.pictures.reduction import reducing_blocks
from retrieval.reducers import RLT, Pooling, Reducer, ToMe

FRAMES = torch.randint(256, (2, 3, 40, 40), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("reducer", "blocks"),
    [
        (Reducer(), []),
        (Pooling(frames=4, block=[2, 6], num_segments=[2, 1]), [2, 6]),
        (ToMe(image_merge=1), range(12)),
        (RLT(frames=4), [0]),
        (RLT(frames=4, joined=False), [0]),
    ],
)
def test_blocks_that_reduce(reducer, blocks):
    assert reducing_blocks(load_model("ViT-tiny-8", reducer), frames=4) == list(blocks)


def test_four_of_many_blocks_are_drawn_and_always_the_last():
    figure = draw_reduction(load_model("ViT-tiny-8", ToMe(image_merge=1)), FRAMES)
    assert figure is not None
    rows = [axis.get_ylabel().split("\n")[0] for axis in figure.axes[::2]]
    assert rows == ["frames", "block 2", "block 5", "block 8", "block 11"]


def test_a_still_video_is_drawn_with_the_patches_of_its_first_frame():
    figure = draw_reduction(load_model("ViT-tiny-8", RLT(frames=2)), FRAMES[:1].expand(2, -1, -1, -1))
    assert figure is not None
    assert figure.axes[2].get_ylabel() == "block 0\n1 x 25"


def test_without_reduction_there_is_nothing_to_draw():
    assert draw_reduction(load_model("ViT-tiny-8", Reducer()), FRAMES) is None
