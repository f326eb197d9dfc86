"""Bipartite matching and merging: nothing is lost, class tokens stay, the most similar pairs go first."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from retrieval.reducers.matching import bipartite_match, destinations, merge

SIZES = {"batch": st.integers(1, 3), "patches": st.integers(2, 12), "class_tokens": st.integers(0, 4)}


def draw(batch, patches, class_tokens, share):
    x = torch.randn(batch, class_tokens + patches, 5)
    size = torch.randint(1, 5, (batch, class_tokens + patches, 1)).float()
    return x, size, bipartite_match(x, int(share * (patches // 2)), class_tokens)


@given(**SIZES, share=st.floats(0, 1))
def test_merging_keeps_mass_and_class_tokens(batch, patches, class_tokens, share):
    x, size, matching = draw(batch, patches, class_tokens, share)
    merged, merged_size = merge(matching, x, size)
    assert merged.shape[1] == class_tokens + patches - matching.merged.shape[1]
    torch.testing.assert_close((merged * merged_size).sum(1), (x * size).sum(1))
    torch.testing.assert_close(merged_size.sum(1), size.sum(1))
    torch.testing.assert_close(merged[:, :class_tokens], x[:, :class_tokens])


@given(**SIZES, share=st.floats(0, 1))
def test_destinations_tell_where_every_token_went(batch, patches, class_tokens, share):
    x, size, matching = draw(batch, patches, class_tokens, share)
    merged, merged_size = merge(matching, x, size)
    mass = torch.zeros_like(merged).scatter_add(1, destinations(matching)[..., None].expand_as(x), x * size)
    torch.testing.assert_close(mass / merged_size, merged)


@pytest.mark.parametrize(("class_tokens", "first_of_a"), [(1, 1), (2, 0), (3, 1), (4, 0)])
def test_set_a_is_every_second_token_of_the_whole_sequence(class_tokens, first_of_a):
    patches = torch.eye(6)
    twin = first_of_a  # the first token of A gets a twin in B, and is therefore the one that merges
    patches[1 - first_of_a + 2] = patches[twin]
    x = torch.cat([torch.rand(class_tokens, 6), patches])[None]
    matching = bipartite_match(x, 1, class_tokens)
    assert matching.merged.item() == 0
    assert destinations(matching)[0, class_tokens + twin] == destinations(matching)[0, class_tokens + 3 - first_of_a]


def test_the_most_similar_pairs_merge():
    x = torch.randn(1, 9, 4)
    unit = F.normalize(x[0, 1:], dim=-1)
    best = (unit[1::2] @ unit[0::2].T).max(dim=1).values
    assert set(bipartite_match(x, 2, 1).merged[0].tolist()) == set(best.topk(2).indices.tolist())


def test_more_merges_than_pairs_are_refused():
    with pytest.raises(ValueError, match="4 merges among 7 patches: at most 3"):
        bipartite_match(torch.randn(1, 8, 4), 4, 1)


def test_gradients_flow_through_the_merge_and_not_through_the_match():
    x, size, metric = (
        torch.randn(2, 7, 3, requires_grad=True),
        torch.ones(2, 7, 1),
        torch.randn(2, 7, 3, requires_grad=True),
    )
    merged, merged_size = merge(bipartite_match(metric, 3, 1), x, size)
    merged.sum().backward()
    assert (x.grad != 0).all()
    assert not merged_size.requires_grad  # or attention, to which it is a bias, would leave its fused kernel
    assert metric.grad is None
