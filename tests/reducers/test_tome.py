"""ToMe's schedule and its limits, and that TempMe's image merging is the same."""

import pytest
import torch

from retrieval import load_model
from retrieval.reducers import TempMe, Tokens, ToMe
from retrieval.reducers.tome import foreground, merge_patches, merges_per_block
from tests.conftest import TINY_CLIP

FRAMES = torch.randn(2, 4, 3, 56, 56, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_every_block_merges_in_every_frame():
    walked = load_model(TINY_CLIP, ToMe(image_merge=2)).visual.walk(FRAMES)
    assert [(tokens.clips, tokens.x.shape[1]) for tokens in walked] == [
        (4, 50 - 2 * (block + 1)) for block in range(12)
    ]
    assert (walked[-1].size.sum(dim=1) == 50).all()


@torch.no_grad()
def test_before_its_first_join_tempme_is_tome():
    tempme = TempMe(frames=4, join_blocks=[11], join_clips=[2], image_merge=2)
    theirs = load_model(TINY_CLIP, tempme).visual.walk(FRAMES)[:11]
    ours = load_model(TINY_CLIP, ToMe(image_merge=2)).visual.walk(FRAMES)[:11]
    for their_tokens, our_tokens in zip(theirs, ours, strict=True):
        torch.testing.assert_close(their_tokens.x, our_tokens.x)
        assert (their_tokens.source == our_tokens.source).all()


@torch.no_grad()
def test_a_frame_of_equal_patches_merges_them_into_one_value():
    model = load_model(TINY_CLIP, ToMe(image_merge=3))
    model.visual.positional_embedding.data[1:] = 0
    patches = model.visual.walk(torch.ones(1, 1, 3, 56, 56))[-1].x[0, 1:]
    torch.testing.assert_close(patches, patches[:1].expand_as(patches), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("merges", "inflection", "schedule"),
    [
        (4, 0.0, [4, 4, 4, 4, 4]),
        (4, 1.0, [0, 2, 4, 6, 8]),
        (4, -1.0, [8, 6, 4, 2, 0]),
        (3, 0.5, [1, 2, 3, 4, 5]),
        (2, -0.3, [2, 2, 2, 2, 2]),
    ],
)
def test_merges_change_linearly_with_the_block_around_their_average(merges, inflection, schedule):
    assert merges_per_block(merges, inflection, blocks=5) == schedule
    assert merges_per_block(merges, 0.0, blocks=1) == [merges]


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        (-1, r"image_merge=-1: the number of merges cannot be negative"),
        ([4, 2], r"image_merge=\[4, 2\]: the inflection lies between -1 and 1"),
        ([4, 1, 1], r"image_merge=\[4, 1, 1\]: a number of merges, or \[r, inflection\]"),
        ([0.5, 1], r"image_merge=\[0.5, 1\]: a number of merges, or \[r, inflection\]"),
    ],
)
def test_impossible_numbers_of_merges_are_refused(merges, message):
    with pytest.raises(ValueError, match=rf"reducer\.{message}"):
        ToMe(image_merge=merges)


def test_saliency_drops_the_background_and_sharpens_the_rest():
    """The steps of vid-TLDR's section 4, one by one; even attention has no foreground."""
    attention = torch.rand(3, 9).softmax(dim=1)
    score = attention - attention.amin(1, keepdim=True)
    score = score / score.amax(1, keepdim=True)
    background = score < score.mean(1, keepdim=True)
    score = score - score.mean(1, keepdim=True)
    score = (score / score.amax(1, keepdim=True)).masked_fill(background, 0.0)
    torch.testing.assert_close(foreground(attention), score)
    assert (foreground(torch.full((1, 4), 0.25)) == 0).all()


def test_what_merges_is_weighed_by_its_saliency():
    tokens = Tokens(torch.randn(2, 9, 6), torch.randint(1, 4, (2, 9, 1)).float(), clips=1)
    plain = merge_patches(tokens, tokens.x, 4)
    whole, none = (merge_patches(tokens, tokens.x, 4, torch.full((2, 8), share)) for share in (1.0, 0.0))
    torch.testing.assert_close((whole.x, whole.size), (plain.x, plain.size))
    torch.testing.assert_close((none.x[:, 1:], none.size[:, 1:]), (tokens.x[:, 1::2], tokens.size[:, 1::2]))
    half = merge_patches(tokens, tokens.x, 4, torch.full((2, 8), 0.5))
    torch.testing.assert_close(2 * half.size[:, 1:], plain.size[:, 1:] + tokens.size[:, 1::2])
    mass = [(each.x * each.size)[:, 1:] for each in (half, plain, tokens)]
    torch.testing.assert_close(2 * mass[0], mass[1] + mass[2][:, ::2])


@torch.no_grad()
def test_with_saliency_layouts_stay_and_without_merges_nothing_changes():
    model = load_model(TINY_CLIP, ToMe(image_merge=2, saliency=True))
    walked, plain = (each.visual.walk(FRAMES) for each in (model, load_model(TINY_CLIP, ToMe(image_merge=2))))
    assert [tokens.layout for tokens in walked] == [tokens.layout for tokens in plain]
    assert (walked[-1].size.sum(1) < plain[-1].size.sum(1)).all()
    assert (walked[-1].size >= 1).all()
    idle = load_model(TINY_CLIP, ToMe(image_merge=0, saliency=True))
    assert torch.equal(idle.visual(FRAMES), load_model(TINY_CLIP, ToMe(image_merge=0)).visual(FRAMES))
