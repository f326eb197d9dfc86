"""Pictures of tokens: what a patch shows, where lines are, and that every reducer can be drawn."""

import pytest
import torch

from retrieval import load_model
from retrieval.pictures import draw_tokens, token_picture
from retrieval.reducers import KMedoids, Pooling, Reducer, SparseSampling, Spectral, TempMe, ToMe
from tests.conftest import TINY_CLIP


def test_patches_show_the_mean_of_their_token_with_lines_between_tokens():
    pixels = torch.rand(2, 3, 8, 8)
    source = torch.tensor([0, 0, 1, 1, 0, 0, 2, -1])  # two frames of 2 x 2 patches
    picture = token_picture(pixels, source)
    members = torch.stack([pixels[0, :, :4, :4], pixels[0, :, :4, 4:], pixels[1, :, :4, :4], pixels[1, :, :4, 4:]])
    torch.testing.assert_close(picture[0, :, :4, :4], members.mean(0))
    assert (picture[0, :, 4] == 1).all()
    assert (picture[1, :, 4:, 4] == 1).all()
    torch.testing.assert_close(picture[1, :, 5:, :4], pixels[1, :, 5:, :4])
    torch.testing.assert_close(picture[1, :, 5:, 5:], 0.15 * pixels[1, :, 5:, 5:])


@pytest.mark.parametrize("reducer", [Reducer, KMedoids, Spectral, Pooling, SparseSampling, TempMe, ToMe])
def test_every_reducer_can_be_drawn(reducer, tmp_path):
    figure = draw_tokens(load_model(TINY_CLIP, reducer()), torch.randn(12, 3, 56, 56), blocks=[5, 11])
    figure.savefig(tmp_path / "tokens.png")
    assert (tmp_path / "tokens.png").stat().st_size > 0
    assert len(figure.axes) == 3 * 12


def test_blocks_that_the_tower_lacks_are_refused():
    with pytest.raises(ValueError, match=r"blocks \[12\]: the video tower has blocks 0 to 11"):
        draw_tokens(load_model(TINY_CLIP), torch.randn(2, 3, 56, 56), blocks=[3, 12])
