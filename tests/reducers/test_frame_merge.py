"""Merging of frames: the most similar neighbours, patch by patch, in the order of time; then patches as ToMe does."""

import pytest
import torch
from torch.nn import functional as F

from retrieval import load_model
from retrieval.reducers import Chain, FrameMerge, RandomPatches, Tokens, ToMe, plan
from retrieval.reducers.frame_merge import merge_frames
from tests.conftest import TINY_CLIP

FRAMES = torch.randn(2, 12, 3, 56, 56, generator=torch.Generator().manual_seed(0))


def drawn(videos: int, clips: int, patches: int = 3) -> Tokens:
    x = torch.randn(videos * clips, 1 + patches, 5)
    size = torch.randint(1, 4, (*x.shape[:2], 1)).float()
    source = torch.arange(clips * (1 + patches)).view(clips, -1)[:, 1:].flatten().repeat(videos, 1)
    return Tokens(x, size, clips, source=source)


def by_hand(tokens: Tokens, merges: int) -> tuple[list[torch.Tensor], list[torch.Tensor], list[list[int]]]:
    """Of one video, in loops: for every frame left its tokens and sizes, and which frames went into it."""
    unit = F.normalize(tokens.x[:, 1:], dim=-1)
    best = {}
    for a in range(0, tokens.clips, 2):
        beside = [b for b in (a - 1, a + 1) if 0 <= b < tokens.clips]
        likeness = {b: float((unit[a] * unit[b]).sum()) for b in beside}
        best[a] = max(likeness.items(), key=lambda pair: pair[1])
    merged = sorted(best, key=lambda a: -best[a][1])[:merges]
    groups = {frame: [frame] for frame in range(tokens.clips) if frame not in merged}
    for a in merged:
        groups[best[a][0]].append(a)
    values, sizes = [], []
    for group in groups.values():
        size = sum(tokens.size[frame] for frame in group)
        values.append(sum(tokens.x[frame] * tokens.size[frame] for frame in group) / size)
        sizes.append(size)
    return values, sizes, list(groups.values())


@pytest.mark.parametrize(("clips", "merges"), [(2, 1), (5, 2), (6, 1), (6, 3), (9, 4)])
def test_frames_merge_as_by_hand_and_stay_in_order(clips, merges):
    tokens = drawn(2, clips)
    left = merge_frames(tokens, merges)
    assert left.clips == clips - merges
    for video in range(2):
        own = slice(video * clips, (video + 1) * clips)
        values, sizes, groups = by_hand(Tokens(tokens.x[own], tokens.size[own], clips), merges)
        rows = slice(video * left.clips, (video + 1) * left.clips)
        torch.testing.assert_close(left.x[rows], torch.stack(values))
        torch.testing.assert_close(left.size[rows], torch.stack(sizes))
        into = (left.source[video].view(clips, -1) // left.layout.tokens).tolist()
        assert into == [
            [next(place for place, group in enumerate(groups) if frame in group)] * 3 for frame in range(clips)
        ]
        assert torch.equal(left.source[video] % left.layout.tokens, torch.arange(1, 4).repeat(clips))


@torch.no_grad()
def test_equal_neighbours_merge_and_equal_frames_further_apart_do_not():
    frames = FRAMES[:1, :6].clone()
    frames[0, 3] = frames[0, 2]
    frames[0, 5] = frames[0, 0]
    model = load_model(TINY_CLIP, FrameMerge(6, 0, 5, image_merge=0))
    first = model.visual.walk(frames)[0]
    assert (first.source.view(6, -1) // first.layout.tokens)[:, 0].tolist() == [0, 1, 2, 2, 3, 4]
    assert first.size[:, 0, 0].tolist() == [1, 1, 2, 1, 1]
    plain = load_model(TINY_CLIP).visual(frames)[0]
    torch.testing.assert_close(
        model.visual(frames)[0], plain[[0, 1, 2, 4, 5]], atol=5e-5, rtol=0
    )  # sums in other order


@torch.no_grad()
def test_without_merges_nothing_changes_and_inside_frames_it_is_tome():
    idle = load_model(TINY_CLIP, FrameMerge(num_frames=12, image_merge=0))
    assert torch.equal(idle.visual(FRAMES), load_model(TINY_CLIP).visual(FRAMES))
    inside = load_model(TINY_CLIP, FrameMerge(block=0, num_frames=12, image_merge=2))
    assert torch.equal(inside.visual(FRAMES), load_model(TINY_CLIP, ToMe(image_merge=2)).visual(FRAMES))


@torch.no_grad()
def test_tokens_and_sources_are_those_that_the_settings_alone_predict():
    model = load_model(TINY_CLIP, FrameMerge(block=[2, 5, 7], num_frames=[8, 6, 3], image_merge=3))
    walked = model.visual.walk(FRAMES)
    assert [tokens.layout for tokens in walked] == [
        after for _, after in plan(model.visual.reducer, model.visual.shape, 12)
    ]
    assert (walked[-1].clips, walked[-1].layout.patches) == (3, 49 - 5 * 3)
    for tokens in walked:
        counted = F.one_hot(tokens.source, tokens.clips * tokens.layout.tokens).sum(1).view(-1, tokens.layout.tokens)
        assert torch.equal(counted[:, 1:].float(), tokens.size[:, 1:, 0])
        assert (tokens.size[:, 0].view(2, -1).sum(1) == 12).all()


def test_frames_whose_places_differ_are_not_merged():
    with pytest.raises(ValueError, match=r"FrameMerge after .*: frames merge place by place at block 3, but 24 of a"):
        load_model(TINY_CLIP, Chain([RandomPatches(0.5), FrameMerge()]))
    load_model(TINY_CLIP, Chain([FrameMerge(), RandomPatches(0.5, [7])]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_frames": [5, 5]}, r"reducer.num_frames=5 at block 3, but 12 frames are there .*: between 6 and 12"),
        ({"num_frames": [9, 10]}, r"reducer.num_frames=10 at block 6, but 9 frames are there .*: between 5 and 9"),
        ({"image_merge": -1}, r"reducer.image_merge=-1: the number of merges cannot be negative"),
        ({"block": [3, 12]}, r"reducer.block=\[3, 12\], but the video tower has blocks 0 to 11"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        load_model(TINY_CLIP, FrameMerge(**settings))
