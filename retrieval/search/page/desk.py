"""Where all questions to one index meet, however many come at once: one is answered at a time."""

import io
from functools import partial
from pathlib import Path
from threading import Lock

from retrieval.data.decoder import open_decord
from retrieval.errors import UserError
from retrieval.pictures import draw_reduction
from retrieval.search.answers import Answer, answers
from retrieval.search.index import Index
from retrieval.search.moments import Filters, Moment
from retrieval.search.questions import Question, Reply, chance_level, reply
from retrieval.search.writing import clock

MOST = 100
"""Answers to one question."""


class Desk:
    """An index, behind a lock.

    A question keeps all cores busy for some milliseconds, so that several at once would only wait for each other.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.lock = Lock()
        self.chance = chance_level(index)

    def ask(self, text: str, top: int, filters: Filters) -> Reply:
        """The answers to a question in words; raises UserError where there is none."""
        self._check(top)
        with self.lock:
            return reply(self.index, Question(text), top, filters, self.chance)

    def more_like(self, number: int, top: int, filters: Filters) -> Reply:
        """Moments that are like one, without itself and what overlaps it."""
        self._check(top)
        moment = self.moment(number)
        itself = Answer(1.0, moment.path, moment.start, moment.end, moment.modified, (moment,))
        with self.lock:
            (found,) = answers(self.index, self.index.vectors[number : number + 1], top, filters, itself)
        return Reply(f"like {Path(moment.path).name} at {clock(moment.start)}", found)

    def moment(self, number: int) -> Moment:
        """A moment by its number; raises UserError where there is none."""
        if not 0 <= number < len(self.index.moments):
            raise UserError(f"there is no moment {number} in the index")
        return self.index.moments[number]

    def picture(self, number: int) -> bytes:
        """A moment's small JPEG; raises UserError where the index has changed and it is gone."""
        with self.lock:
            (picture,) = self.index.thumbnails([self.moment(number)])
        if not picture:
            raise UserError(f"there is no picture of moment {number} any more")
        return picture

    def tokens(self, number: int) -> bytes | None:
        """A PNG of which patches of a moment went into which token; None where the reducer leaves all as they are."""
        moment = self.moment(number)
        # It has been decoded before, so nothing guards the decoder: a server of many threads does not fork.
        opener = partial(open_decord, short_side=self.index.encoder.short_side)
        with self.lock:
            frames = self.index.frames(moment.path, moment.start, moment.end, opener)
            figure = draw_reduction(self.index.encoder.model, frames)
        if figure is None:
            return None
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=110)
        return file.getvalue()

    def _check(self, top: int) -> None:
        if not 1 <= top <= MOST:
            raise UserError(f"top={top}: 1 to {MOST} answers")
