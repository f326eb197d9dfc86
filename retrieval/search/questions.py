"""Questions to an index, in words, by a video or by a picture, and the replies to them.

Scores say which moment is best and not whether it is good: some moment always is. What tells is how well words answer
that mean nothing. `chance_level` asks the index with words drawn at random; a best answer that is no better than theirs
is probably none.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol, runtime_checkable

from PIL import Image
from torch import Tensor

from retrieval.errors import UserError
from retrieval.search.answers import Answer, Searchable, answers
from retrieval.search.moments import Filters

LONGEST = 2000
"""Letters of a query that are read; a model reads a few dozen words."""
PICTURES = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Pillow's names of the formats that a question may be asked with."""
QUESTIONS_OF_CHANCE = 40
WORDS_OF_CHANCE = 5
SHARE = 0.95
"""Of the questions of random words, those whose best answer a good one beats."""
WORDS = (
    "above advice animal autumn basket become bicycle bridge butter candle carry castle chair circle cloud "
    "coffee copper corner cotton dance debt desert doctor drawing early engine famous fasten feather field "
    "finger forest garden gentle glass golden hammer harbour honest island jacket journey kitchen ladder "
    "laughter lemon letter machine marble market memory mirror motion narrow needle north ocean orange outside "
    "paper pepper picture planet pocket quiet rapid ribbon river rough school season shadow silver sister slowly "
    "snow square station stone street summer table theory thread tiger toward travel under valley velvet village "
    "violin weather window winter wooden yellow yesterday"
)


@dataclass(frozen=True)
class Question:
    """What is asked: `text`, or what a file shows.

    Attributes:
        text: in words; empty where a file asks.
        like: a video or a picture.
        start, end: seconds of the video; None: from its beginning, to its end.
    """

    text: str = ""
    like: Path | None = None
    start: float | None = None
    end: float | None = None

    def __str__(self) -> str:
        if self.like is None:
            return self.text
        if self.start is None and self.end is None:
            return f"like {self.like}"
        return f"like {self.like} from {self.start or 0:g} s to {'its end' if self.end is None else f'{self.end:g} s'}"


@dataclass(frozen=True)
class Reply:
    """The answers to a question, the best first, and what to know about them."""

    question: str
    answers: list[Answer]
    notes: tuple[str, ...] = ()


@runtime_checkable
class Askable(Searchable, Protocol):
    """What questions need of an index."""

    def encode_text(self, queries: Sequence[str]) -> Tensor: ...
    def encode_frames(self, path: Path, start: float | None = None, end: float | None = None) -> Tensor: ...
    def encode_image(self, path: Path) -> Tensor: ...


def reply(index: Askable, question: Question, top: int, filters: Filters, chance: float | None = None) -> Reply:
    """Ask an index.

    Args:
        index: what is asked.
        question: in words or by a file; a stretch of a video does not find itself.
        top: how many answers.
        filters: which moments may answer.
        chance: `chance_level` of the index; None: say nothing about low scores.

    Raises:
        UserError: no question, or a file that cannot be read.
    """
    if question.like is not None:
        (found,) = answers(index, _kept_of_file(index, question), top, filters, _itself(question))
        return Reply(str(question), found)
    text, notes = _shortened(question.text)
    if not text.strip():
        raise UserError("the query is empty: write what is to be seen, such as query='a man rides a bike'")
    (found,) = answers(index, index.encode_text([text]), top, filters)
    if found and chance is not None and found[0].score <= chance:
        notes.append(low(found[0].score, chance))
    return Reply(text, found, tuple(notes))


def chance_level(index: Askable) -> float | None:
    """The score that the best answer to a question of random words stays below, `SHARE` of the time.

    A property of a model and the moments that it has indexed; the words are the same every time. None for an index
    without moments.
    """
    random = Random(0)
    words = WORDS.split()
    texts = [" ".join(random.sample(words, WORDS_OF_CHANCE)) for _ in range(QUESTIONS_OF_CHANCE)]
    best = sorted(hits[0][0] for hits in index.nearest(index.encode_text(texts), 1, Filters()) if hits)
    return best[min(int(SHARE * len(best)), len(best) - 1)] if best else None


def low(score: float, chance: float) -> str:
    """What to know about a best answer that random words find as well."""
    return (
        f"Low scores: the best is {score:.3f}, and {SHARE:.0%} of questions of random words find one of up to "
        f"{chance:.3f} here. Probably nothing in the index shows this."
    )


def read_questions(path: Path) -> list[Question]:
    """A query a line; empty lines are left out.

    Raises:
        UserError: a file that cannot be read, is no text or has no query.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"queries={path}: not a readable text file ({error})") from error
    questions = [Question(line.strip()) for line in lines if line.strip()]
    if not questions:
        raise UserError(f"queries={path}: there is no query in it; write one a line")
    return questions


def is_picture(path: Path) -> bool:
    """Whether a file is a still picture; everything else is taken for a video.

    Raises:
        UserError: no such file, or one that may not be read.
    """
    try:
        path.open("rb").close()
        with Image.open(path, formats=PICTURES) as picture:
            return getattr(picture, "n_frames", 1) == 1
    except Image.UnidentifiedImageError:
        return False
    except (OSError, Image.DecompressionBombError) as error:
        raise UserError(f"like={path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _kept_of_file(index: Askable, question: Question) -> Tensor:
    assert question.like is not None
    if is_picture(question.like):
        if question.start is not None or question.end is not None:
            raise UserError(f"like_start and like_end are seconds of a video, and {question.like} is a picture")
        return index.encode_image(question.like)
    start, end = question.start, question.end
    if (start or 0.0) < 0 or (end is not None and end <= (start or 0.0)):
        raise UserError(f"like_start={start} like_end={end}: give seconds, the end after the start")
    return index.encode_frames(question.like, start, end)


def _itself(question: Question) -> Answer:
    """The stretch of video that a question is, as an answer that is none."""
    start, end = question.start or 0.0, float("inf") if question.end is None else question.end
    return Answer(1.0, os.path.abspath(question.like or ""), start, end, 0.0, ())


def _shortened(text: str) -> tuple[str, list[str]]:
    """The letters of a query that are read, on one line, and a note where it has more."""
    kept = " ".join(text[:LONGEST].split())
    return kept, [f"The query has {len(text):,} letters; the first {LONGEST:,} are read."] if len(
        text
    ) > LONGEST else []
