"""Tokens: what is kept takes its values, sizes and sources along."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retrieval.reducers import Tokens


def fresh(videos: int, clips: int, patches: int) -> Tokens:
    """Tokens that are called by their number, and whose size is one more."""
    count = clips * (1 + patches)
    numbers = torch.arange(count, dtype=torch.float32).repeat(videos).reshape(videos * clips, 1 + patches, 1)
    source = torch.arange(count).reshape(clips, 1 + patches)[:, 1:].flatten().repeat(videos, 1)
    return Tokens(numbers, numbers + 1, clips, source=source)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.data())
def test_every_patch_finds_its_token_or_is_dropped(videos, clips, patches, data):
    tokens = fresh(videos, clips, patches)
    kept = data.draw(st.lists(st.permutations(range(1, patches + 1)), min_size=videos * clips, max_size=videos * clips))
    share = data.draw(st.integers(0, patches))
    index = torch.tensor([[0, *row[:share]] for row in kept])
    left = tokens.select(index)
    assert left.layout.patches == share
    assert torch.equal(left.size, left.x + 1)
    assert torch.equal(left.x[..., 0].long() % (1 + patches), index)
    values = left.x.reshape(videos, -1)
    for video in range(videos):
        for number, place in zip(tokens.source[video].tolist(), left.source[video].tolist(), strict=True):
            clip = number // (1 + patches)
            is_kept = number % (1 + patches) in index[video * clips + clip].tolist()
            assert (place >= 0) == is_kept
            assert not is_kept or values[video, place] == number


def test_one_row_of_positions_serves_all_clips_and_sources_are_followed_twice():
    left = fresh(2, 3, 4).select([0, 2, 4]).select([0, 2])
    assert left.x[..., 0].tolist() == [[0, 4], [5, 9], [10, 14]] * 2
    assert left.source.tolist() == [[-1, -1, -1, 1, -1, -1, -1, 3, -1, -1, -1, 5]] * 2


def test_class_tokens_cannot_be_dropped():
    with pytest.raises(ValueError, match="0 tokens selected, but a clip has 1 class tokens"):
        fresh(1, 1, 2).select([])
