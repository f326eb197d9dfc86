"""From scored moments to answers: moments of a video that overlap become one.

Moments are walked from the best one down until there are as many answers as wanted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from retrieval.errors import UserError
from retrieval.search.moments import Filters, Moment

ALL = Filters()
NEAR = 0.02
"""How much less than an answer's best moment one that overlaps it may score to prolong it; with more it is left out."""
DEPTH = 4
"""Moments that are asked for at first, for each answer that is wanted."""


@dataclass(frozen=True)
class Answer:
    """A stretch of a video that answers a question.

    Attributes:
        score: of its best moment.
        path: of the video.
        start, end: seconds.
        modified: time of the file when it was indexed, seconds since the epoch.
        moments: those it is made of, the best first.
    """

    score: float
    path: str
    start: float
    end: float
    modified: float
    moments: tuple[Moment, ...]

    def overlaps(self, moment: Moment) -> bool:
        """Whether a moment lies in the same video and shares some of its time."""
        return self.path == moment.path and self.start < moment.end and moment.start < self.end


@runtime_checkable
class Searchable(Protocol):
    """What answers need of an index."""

    def nearest(self, kept: Tensor, top: int, filters: Filters = ALL) -> list[list[tuple[float, Moment]]]: ...


def answers(
    index: Searchable, kept: Tensor, top: int, filters: Filters = ALL, leave_out: Answer | None = None
) -> list[list[Answer]]:
    """For each question its `top` best answers, best first; fewer where the index has no more.

    Args:
        index: what is asked.
        kept: what the head keeps of the questions, `[question, ...]`.
        top: how many answers.
        filters: which moments may answer.
        leave_out: a stretch of a video that is no answer, because it is the question.

    Raises:
        UserError: no answer is wanted.
    """
    if top < 1:
        raise UserError(f"top={top}: at least one answer")
    return [_answers(index, question, top, filters, leave_out) for question in kept.split(1)]


def _answers(index: Searchable, question: Tensor, top: int, filters: Filters, leave_out: Answer | None) -> list[Answer]:
    """One more than are wanted shows that nothing better prolongs the last of them."""
    depth = DEPTH * top
    while True:
        (hits,) = index.nearest(question, depth, filters)
        found = merge(((score, each) for score, each in hits if not (leave_out and leave_out.overlaps(each))), top + 1)
        if len(found) > top or len(hits) < depth:
            return found[:top]
        depth *= DEPTH


def merge(hits: Iterable[tuple[float, Moment]], most: int) -> list[Answer]:
    """Scored moments, the best first, as answers that do not overlap each other; at most so many.

    A moment that overlaps no answer begins one. Another prolongs what it overlaps if it scores nearly as well (`NEAR`),
    and so may join two; else it is left out, because a better answer covers that place.
    """
    found: list[Answer] = []
    for score, moment in hits:
        met = [answer for answer in found if answer.overlaps(moment)]
        if not met:
            found.append(Answer(score, moment.path, moment.start, moment.end, moment.modified, (moment,)))
            if len(found) == most:
                break
        elif all(answer.score - score <= NEAR for answer in met):
            joined = _joined(met, moment)
            found = [joined if answer is met[0] else answer for answer in found if answer not in met[1:]]
    return found


def _joined(parts: list[Answer], moment: Moment) -> Answer:
    """One answer of those that a moment overlaps, the best first, and that moment."""
    best = parts[0]
    moments = (*(each for part in parts for each in part.moments), moment)
    start, end = min(each.start for each in moments), max(each.end for each in moments)
    return Answer(best.score, best.path, start, end, best.modified, moments)
