"""What all reducers of segments share: schedules, counts, sizes, sources, gradients and clear refusals."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from retrieval import load_model
from retrieval.reducers import KMedoids, Pooling, Reducer, SparseSampling, Spectral, Tokens, TowerShape, plan
from tests.conftest import TINY_CLIP

TOWER = TowerShape(blocks=12, width=16, patches=9)
POSITIONS = torch.randn(9, 16)
REDUCERS: list[Callable[..., Reducer]] = [KMedoids, Spectral, SparseSampling, Pooling]


def build(reducer: Reducer) -> Reducer:
    reducer.build(TOWER, POSITIONS)
    return reducer.eval()


def tokens_of(videos: int, frames: int, patches: int = 9, class_tokens: int = 1) -> Tokens:
    layout = (videos * frames, class_tokens + patches)
    index = torch.arange(frames * layout[1]).unflatten(0, (frames, -1))[:, class_tokens:].reshape(1, -1)
    x, size = torch.randn(*layout, 16), torch.ones(*layout, 1)
    return Tokens(x, size, frames, class_tokens, source=index.repeat(videos, 1))


def knobs(reducer: Callable[..., Reducer], clusters: int | list[int] = 5, **others) -> dict:
    return others if reducer is Pooling else {"num_clusters": clusters, **others}


@pytest.mark.parametrize("reducer", REDUCERS)
@settings(deadline=None, max_examples=30)
@given(
    segments=st.sampled_from([[6], [4], [1], [12], [6, 3], [4, 2], [4, 4, 1]]),
    clusters=st.integers(1, 9),
    class_tokens=st.integers(1, 2),
)
def test_tokens_are_as_many_as_the_settings_alone_predict(reducer, segments, clusters, class_tokens):
    blocks = [2, 5, 9][: len(segments)]
    built = build(reducer(frames=12, block=blocks, num_segments=segments, **knobs(reducer, clusters)))
    tokens = tokens_of(2, 12, class_tokens=class_tokens)
    for block in range(12):
        layout = built.layout_before_attention(tokens.layout, block)
        tokens = built.before_attention(tokens, block)
        assert tokens.layout == layout
        assert tokens.x.shape[:2] == tokens.size.shape[:2] == (2 * layout.clips, layout.tokens)
    assert tokens.clips == segments[-1]


@pytest.mark.parametrize("reducer", REDUCERS)
def test_sizes_count_the_patches_that_the_sources_name(reducer):
    built = build(reducer(frames=12, block=[2, 5], num_segments=[4, 2], **knobs(reducer)))
    tokens = tokens_of(3, 12)
    for block in range(12):
        tokens = built.before_attention(tokens, block)
    layout = tokens.layout
    kept = F.one_hot(tokens.source + 1, layout.clips * layout.tokens + 1)[..., 1:].sum(1).reshape(-1, layout.tokens)
    assert (kept[:, 1:] == tokens.size[:, 1:, 0]).all()
    assert (kept[:, 0] == 0).all()
    assert (tokens.size[:, 0] == 1).all()
    dropped = (tokens.source < 0).sum()
    assert (dropped > 0) == (reducer is SparseSampling)


@pytest.mark.parametrize("reducer", REDUCERS)
def test_class_tokens_are_averaged_over_their_segment(reducer):
    tokens = tokens_of(2, 12, class_tokens=2)
    reduced = build(reducer(frames=12, num_segments=4, **knobs(reducer))).before_attention(tokens, 6)
    expected = tokens.x[:, :2].reshape(2 * 4, 3, 2, 16).mean(1)
    torch.testing.assert_close(reduced.x[:, :2], expected)


@pytest.mark.parametrize("reducer", REDUCERS)
def test_permuting_videos_permutes_results(reducer):
    built = build(reducer(frames=6, num_segments=2, **knobs(reducer)))
    x = torch.randn(4, 6, 10, 16)
    order = torch.tensor([2, 0, 3, 1])
    run = [
        built.before_attention(Tokens(v.flatten(0, 1), torch.ones(24, 10, 1), 6), 6).x.unflatten(0, (4, 2))
        for v in (x, x[order])
    ]
    assert torch.equal(run[1], run[0][order])


@pytest.mark.parametrize("reducer", REDUCERS)
def test_other_blocks_are_left_alone(reducer):
    tokens = tokens_of(1, 12)
    assert build(reducer(block=6, num_segments=4, **knobs(reducer))).before_attention(tokens, 5) is tokens


@pytest.mark.parametrize("reducer", [KMedoids, Spectral, SparseSampling])
def test_gradients_flow_through_the_tokens_that_travel_on_and_through_no_other(reducer):
    tokens = tokens_of(1, 12)
    x = tokens.x.requires_grad_()
    reduced = build(reducer(num_segments=3, **knobs(reducer))).before_attention(tokens, 6)
    reduced.x[:, 1:].sum().backward()
    assert x.grad is not None
    rows = x.grad[:, 1:].flatten(0, 1)
    assert ((rows == 0).all(1) | (rows == 1).all(1)).all()
    assert (rows == 1).all(1).sum() == 3 * 5


@pytest.mark.parametrize("reducer", REDUCERS)
def test_all_reducers_train_the_tower(reducer):
    model = load_model(TINY_CLIP, reducer(frames=4, num_segments=2)).train()
    model.encode_video(torch.randn(2, 4, 3, 56, 56)).sum().backward()
    assert (model.visual.conv1.weight.grad != 0).any()


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_segments": 5}, r"reducer.num_segments=5 at block 6 does not divide the 12 frames or segments there"),
        ({"block": [4, 8], "num_segments": [4, 3]}, r"num_segments=3 at block 8 does not divide the 4 "),
        ({"block": [4, 8], "num_segments": [4]}, r"num_segments=\[4\] for reducer.block=\[4, 8\]: give one number"),
        ({"num_segments": 0}, "reducer.num_segments=0: must be at least 1"),
        ({"block": [8, 4]}, r"reducer.block=\[8, 4\]: blocks are counted from 0 and must ascend"),
        ({"block": -1}, "reducer.block=-1"),
        ({"block": []}, r"reducer.block=\[\]"),
    ],
)
def test_contradictory_schedules_are_refused(reducer, changes, message):
    with pytest.raises(ValueError, match=message):
        reducer(**({"frames": 12} | changes))


@pytest.mark.parametrize("reducer", REDUCERS)
def test_blocks_that_the_tower_lacks_are_refused(reducer):
    with pytest.raises(ValueError, match=r"reducer.block=\[12\], but the video tower has blocks 0 to 11"):
        build(reducer(block=12, **knobs(reducer)))


@pytest.mark.parametrize("reducer", [KMedoids, Spectral, SparseSampling])
def test_more_clusters_than_patches_are_refused_when_the_tower_is_built(reducer):
    with pytest.raises(ValueError, match=r"reducer.num_clusters=28 at block 6, but a segment has 3 x 9 patches there"):
        build(reducer(num_segments=4, num_clusters=28))


def test_another_number_of_frames_is_refused():
    with pytest.raises(ValueError, match=r"8 frames per video, but reducer.frames=12"):
        plan(build(Pooling()), TOWER, frames=8)
