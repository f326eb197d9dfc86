"""Chains: reducers run one after the other, and say why where they cannot."""

import pytest
import torch

from retrieval import load_model
from retrieval.reducers import Chain, KMedoids, Pooling, Reducer, TempMe, TemporalShift, ToMe, plan
from tests.conftest import TINY_CLIP


def tempme(**settings) -> TempMe:
    return TempMe(**({"frames": 6, "join_blocks": [8, 9], "join_clips": [2, 3]} | settings))


@torch.no_grad()
@pytest.mark.parametrize(
    "reducers",
    [
        lambda: [Pooling(block=4, num_segments=6), tempme()],
        lambda: [tempme(), Pooling(block=4, num_segments=6)],
        lambda: [ToMe(image_merge=1), TemporalShift(block=3), KMedoids(num_segments=3, num_clusters=20)],
        lambda: [Pooling(block=2, num_segments=6), KMedoids(frames=6, block=7, num_segments=2)],
    ],
)
def test_tokens_and_sources_are_those_that_the_settings_alone_predict(reducers):
    model = load_model(TINY_CLIP, Chain(reducers()))
    walked = model.visual.walk(torch.randn(2, 12, 3, 56, 56))
    planned = plan(model.visual.reducer, model.visual.shape, frames=12)
    assert [tokens.layout for tokens in walked] == [after for _, after in planned]
    layout, tokens = walked[-1].layout, walked[-1]
    counted = torch.nn.functional.one_hot(tokens.source, layout.clips * layout.tokens).sum(1)
    torch.testing.assert_close(
        counted.reshape(-1, layout.tokens)[:, layout.class_tokens :].float(), tokens.size[:, layout.class_tokens :, 0]
    )


@torch.no_grad()
def test_a_chain_of_one_is_that_one():
    frames = torch.randn(1, 12, 3, 56, 56)
    features = [load_model(TINY_CLIP, each).encode_video(frames) for each in (KMedoids(), Chain([KMedoids()]))]
    assert torch.equal(*features)


@pytest.mark.parametrize(
    ("reducers", "message"),
    [
        (
            lambda: [Pooling(block=4, num_segments=6), TempMe()],
            r"TempMe is made for frames=12, but at block 8 it finds 6 clips: set its frames",
        ),
        (
            lambda: [TempMe(), KMedoids(block=9, num_segments=4)],
            r"KMedoids after those before it: reducer.num_segments=4 at block 9 does not divide the 3",
        ),
        (
            lambda: [ToMe(image_merge=2), KMedoids(num_segments=12, num_clusters=49)],
            r"KMedoids after those before it: reducer.num_clusters=49 at block 6, but a segment has 1 x 37 patches",
        ),
        (
            lambda: [ToMe(image_merge=1), TempMe()],
            r"ToMe and TempMe both merge after the attention of block 0",
        ),
    ],
)
def test_layouts_that_do_not_agree_are_refused_with_the_reason(reducers, message):
    with pytest.raises(ValueError, match=message):
        load_model(TINY_CLIP, Chain(reducers()))


def test_an_empty_chain_is_refused():
    with pytest.raises(ValueError, match=r"reducer.reducers is empty"):
        Chain([])


def test_attention_is_proportional_where_any_reducer_asks_for_it():
    assert Chain([Reducer(), ToMe()]).proportional_attention
    assert not Chain([Pooling(), KMedoids()]).proportional_attention
