"""Near-equal moments across files, against comparing every pair by hand."""

import pytest
import torch

from retrieval.errors import UserError
from retrieval.search import duplicates as module
from retrieval.search.duplicates import duplicates
from tests.search.shelf import Shelf, moments_of


def films(*, files: int, moments: int) -> Shelf:
    """Random moments, of which each file after the first has two of the first one's, hardly changed."""
    places = [(f"{file}", 5.0 * number, 5.0 * number + 10) for file in range(files) for number in range(moments)]
    vectors = torch.randn(files, moments, 32)
    for file in range(1, files):
        vectors[file, 3:5] = vectors[0, 3:5] + 0.01 * torch.randn(2, 32)
    return Shelf(moments_of(*places), vectors.flatten(0, 1))


@pytest.mark.parametrize("block", [1, 2**24])
def test_a_copied_stretch_is_one_group(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    (group,) = duplicates(films(files=4, moments=8), 0.95)
    assert [(place.path, place.start, place.end) for place in group.places] == [(f"{n}", 15, 30) for n in range(4)]
    assert 0.99 < group.similarity <= 1


def test_groups_are_the_connected_moments_of_all_pairs():
    places = [(f"{number % 7}", 20.0 * number, 20.0 * number + 10) for number in range(60)]  # none overlap
    vectors = torch.nn.functional.normalize(torch.randn(60, 3), dim=1)
    found = duplicates(Shelf(moments_of(*places), vectors), 0.9)
    near = [
        {one, other}
        for one in range(60)
        for other in range(60)
        if one % 7 != other % 7 and float(vectors[one].double() @ vectors[other].double()) >= 0.9
    ]
    expected: list[set[int]] = []
    for pair in near:
        met = [each for each in expected if each & pair]
        expected = [each for each in expected if not each & pair] + [set().union(pair, *met)]
    assert {frozenset((p.path, p.start) for p in group.places) for group in found} == {
        frozenset((places[number][0], places[number][1]) for number in each) for each in expected
    }
    assert [group.similarity for group in found] == sorted((group.similarity for group in found), reverse=True)


def test_a_file_is_no_copy_of_itself_and_nothing_is_no_group():
    assert duplicates(Shelf(moments_of(("a", 0, 10), ("a", 5, 15)), torch.ones(2, 4)), 0.9) == []
    assert duplicates(Shelf([], torch.empty(0, 4)), 0.9) == []
    with pytest.raises(UserError, match="duplicates=95"):
        duplicates(Shelf([], torch.empty(0, 4)), 95.0)
