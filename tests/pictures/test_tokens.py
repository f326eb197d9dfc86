"""Pictures of tokens: what a patch shows, where lines and numbers are, and that every reducer can be drawn."""

import pytest
import torch
from matplotlib.figure import Figure

from retrieval import load_model
from retrieval.pictures import draw_tokens
from retrieval.pictures.tokens import places, spanning_tokens, token_means
from retrieval.reducers import KMedoids, Pooling, Reducer, SparseSampling, Spectral, TempMe, Tokens, ToMe
from tests.conftest import TINY_CLIP


def video(frames: int) -> torch.Tensor:
    return torch.randint(256, (frames, 3, 56, 56), dtype=torch.uint8)


def drawn(reducer: Reducer, frames: int, blocks: list[int]) -> Figure:
    return draw_tokens(load_model(TINY_CLIP, reducer), video(frames), blocks)


def test_patches_show_the_mean_of_their_token_and_dropped_ones_are_dark():
    pixels = torch.rand(2, 3, 8, 8)
    source = torch.tensor([0, 0, 1, 1, 0, 0, 2, -1])  # two frames of 2 x 2 patches
    picture = token_means(pixels, source)
    members = torch.stack([pixels[0, :, :4, :4], pixels[0, :, :4, 4:], pixels[1, :, :4, :4], pixels[1, :, :4, 4:]])
    torch.testing.assert_close(picture[0, :, :4, :4], members.mean(0))
    torch.testing.assert_close(picture[1, :, 4:, :4], pixels[1, :, 4:, :4])
    torch.testing.assert_close(picture[1, :, 4:, 4:], 0.15 * pixels[1, :, 4:, 4:])


def test_tokens_that_span_frames_are_numbered_from_the_largest():
    source = torch.tensor([[7, 7, 5, 9], [5, 5, 5, 9], [-1, -1, 9, 3]])
    assert spanning_tokens(source) == {5: 1, 9: 2}


def test_each_area_of_a_token_has_its_place():
    token = torch.tensor([[4, 4, 4, 2], [1, 1, 4, 2], [4, 1, 2, 2]])
    assert sorted(places(token)) == [(1, 1, 1), (2, 1, 3), (4, 0, 1), (4, 2, 0)]


def test_every_place_of_a_spanning_token_has_its_number():
    figure = drawn(Pooling(frames=4, block=2, num_segments=2), 4, [1, 2])
    before, after = figure.axes[4:8], figure.axes[8:]
    assert not any(axis.texts for axis in before)
    numbers = [sorted(int(text.get_text()) for text in axis.texts) for axis in after]
    assert numbers[0] == numbers[1] != numbers[2] == numbers[3]
    assert sorted(numbers[0] + numbers[2]) == list(range(1, 2 * 49 + 1))


def test_lines_hide_no_more_than_an_eighth_of_a_patch():
    figure = drawn(Reducer(), 2, [0])
    axis = figure.axes[2]
    figure.canvas.draw()
    patch = axis.get_window_extent().width / 7 * 72 / figure.dpi  # in points
    (width,) = {float(each) for lines in axis.collections for each in lines.get_linewidth()}
    assert 0 < 2 * width <= patch / 8  # two tokens' lines side by side


SLOW = [pytest.param(reducer, marks=pytest.mark.slow) for reducer in (Reducer, Spectral, Pooling, ToMe)]


@pytest.mark.parametrize("reducer", [KMedoids, SparseSampling, TempMe, *SLOW])
def test_every_reducer_can_be_drawn(reducer, tmp_path):
    figure = drawn(reducer(), 12, [11])
    figure.savefig(tmp_path / "tokens.png", dpi=50)
    assert (tmp_path / "tokens.png").stat().st_size > 0
    assert len(figure.axes) == 2 * 12


class Forgetful(Reducer):
    """Takes every second patch without telling which."""

    def before_attention(self, tokens: Tokens, block: int) -> Tokens:
        return Tokens(tokens.x[:, ::2], tokens.size[:, ::2], tokens.clips) if block == 6 else tokens


def test_a_reducer_that_loses_the_source_of_its_tokens_is_told_so():
    with pytest.raises(ValueError, match=r"Forgetful loses the source of its tokens: choose them by Tokens\.select"):
        drawn(Forgetful(), 2, [6])


def test_blocks_that_the_tower_lacks_are_refused():
    with pytest.raises(ValueError, match=r"blocks \[12\]: the video tower has blocks 0 to 11"):
        drawn(Reducer(), 2, [3, 12])
