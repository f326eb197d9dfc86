"""Overlapping moments become one answer, whatever their order and number."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import UserError
from retrieval.search.answers import NEAR, Answer, answers, merge
from retrieval.search.moments import Filters, Moment
from tests.search.shelf import QUESTION, Shelf, angled, moments_of


def ask(shelf: Shelf, top: int, **options) -> list[Answer]:
    (found,) = answers(shelf, QUESTION, top, **options)
    return found


def spans(found: list[Answer]) -> list[tuple[str, float, float]]:
    return [(answer.path, answer.start, answer.end) for answer in found]


def test_neighbours_that_score_alike_are_one_answer():
    shelf = Shelf(moments_of(("a", 0, 10), ("a", 5, 15), ("a", 10, 20), ("b", 5, 15)), angled(0.89, 0.9, 0.5, 0.7))
    found = ask(shelf, 2)
    assert spans(found) == [("a", 0, 15), ("b", 5, 15)], "the third moment scores far less: a better answer covers it"
    assert found[0].score == pytest.approx(0.9)
    assert [moment.number for moment in found[0].moments] == [1, 0]


def test_a_moment_between_two_answers_joins_them():
    shelf = Shelf(moments_of(("a", 0, 10), ("a", 5, 15), ("a", 10, 20), ("a", 15, 25)), angled(0.9, 0.885, 0.2, 0.89))
    assert spans(ask(shelf, 3)) == [("a", 0, 15), ("a", 15, 25)]
    shelf = Shelf(moments_of(("a", 0, 10), ("a", 5, 16), ("a", 15, 25)), angled(0.9, 0.885, 0.89))
    assert spans(ask(shelf, 3)) == [("a", 0, 25)]


def test_touching_moments_are_two_answers():
    assert len(ask(Shelf(moments_of(("a", 0, 10), ("a", 10, 20)), angled(0.9, 0.9)), 5)) == 2


def test_as_many_answers_as_wanted_are_found_behind_many_that_overlap():
    long = [("a", float(start), start + 10.0) for start in range(300)]
    shelf = Shelf(moments_of(*long, ("b", 0, 10), ("c", 0, 10)), angled(*[0.9] * 300, 0.5, 0.4))
    assert spans(ask(shelf, 2)) == [("a", 0, 309), ("b", 0, 10)]
    assert shelf.asked > 1
    assert len(ask(shelf, 50)) == 3


def test_filters_are_handed_on_and_the_question_itself_is_left_out():
    shelf = Shelf(moments_of(("a", 0, 10), ("a", 10, 20), ("b", 0, 10)), angled(0.9, 0.8, 0.7))
    assert spans(ask(shelf, 3, filters=Filters(path="b"))) == [("b", 0, 10)]
    itself = Answer(1.0, "a", 0.0, 10.0, 0.0, ())
    assert spans(ask(shelf, 3, leave_out=itself)) == [("a", 10, 20), ("b", 0, 10)]


def test_several_questions_are_answered_in_their_order():
    shelf = Shelf(moments_of(("a", 0, 10), ("b", 0, 10)), torch.eye(2))
    assert [found[0].path for found in answers(shelf, torch.eye(2).flip(0), 1)] == ["b", "a"]
    with pytest.raises(UserError, match="top=0"):
        answers(shelf, QUESTION, 0)


hits = st.lists(
    st.tuples(st.floats(-1, 1, width=32), st.sampled_from("ab"), st.integers(0, 40), st.integers(1, 12)), max_size=40
)


@given(hits, st.integers(1, 10))
def test_answers_are_apart_best_first_and_of_moments_nearly_as_good(scored, most):
    scored.sort(key=lambda hit: -hit[0])
    moments = [
        Moment(n, path, float(start), float(start + length), 0.0, 0)
        for n, (_, path, start, length) in enumerate(scored)
    ]
    found = merge(((hit[0], moment) for hit, moment in zip(scored, moments, strict=True)), most)
    assert [answer.score for answer in found] == sorted((answer.score for answer in found), reverse=True)
    assert len(found) <= most
    assert not scored or (found[0].score, found[0].moments[0]) == (scored[0][0], moments[0])
    for answer in found:
        assert (answer.start, answer.end) == (min(m.start for m in answer.moments), max(m.end for m in answer.moments))
        assert all(answer.score - scored[moment.number][0] <= NEAR for moment in answer.moments)
        others = [moment for other in found if other is not answer for moment in other.moments]
        assert not any(answer.overlaps(moment) for moment in others)
