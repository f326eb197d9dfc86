"""Questions in words, by a file, from a list of them; what is said of low scores and long queries."""

import math

import pytest
import torch
from PIL import Image
from torch import Tensor

from retrieval.data.corpora.moving_shapes import encode
from retrieval.errors import UserError
from retrieval.search.moments import Filters
from retrieval.search.questions import (
    LONGEST,
    QUESTIONS_OF_CHANCE,
    SHARE,
    Question,
    chance_level,
    is_picture,
    read_questions,
    reply,
)
from tests.search.shelf import Shelf, angled, moments_of


class Speaking(Shelf):
    """Takes the words of a query as the cosine of its best moment; other words are worth less than 0.5."""

    def encode_text(self, queries) -> Tensor:
        self.queries = list(queries)
        places = [query.partition("cosine ")[2] for query in queries]
        return angled(*[float(place) if place else number / 100 for number, place in enumerate(places)])

    def encode_frames(self, path, start=None, end=None) -> Tensor:
        self.asked_with = (path, start, end)
        return angled(1.0)

    def encode_image(self, path) -> Tensor:
        self.asked_with = path
        return angled(1.0)


@pytest.fixture
def shelf() -> Speaking:
    return Speaking(moments_of(("/a.mp4", 0, 10), ("/b.mp4", 0, 10)), angled(1.0, 1.0))


def test_chance_is_what_random_words_stay_below(shelf):
    chance = chance_level(shelf)
    best = [number / 100 for number in range(QUESTIONS_OF_CHANCE)]
    assert chance == pytest.approx(best[math.floor(SHARE * len(best))])
    assert len(set(shelf.queries)) == QUESTIONS_OF_CHANCE
    assert chance_level(shelf) == chance, "the words are the same every time"
    assert chance_level(Speaking([], torch.empty(0, 2))) is None


def test_a_best_answer_no_better_than_chance_is_told(shelf):
    for score, is_low in ((0.3, True), (0.4, True), (0.41, False)):
        (notes,) = [reply(shelf, Question(f"cosine {score}"), 1, Filters(), chance=0.400001).notes]
        assert bool(notes) == is_low
    assert reply(shelf, Question("cosine 0.1"), 1, Filters()).notes == ()


def test_a_long_query_is_cut_and_spaces_are_one(shelf):
    found = reply(shelf, Question("a \n  b " + "c" * 5000), 1, Filters())
    assert shelf.queries == [found.question]
    assert len(found.question) <= LONGEST
    assert found.question.startswith("a b ccc")
    assert found.notes == (f"The query has 5,007 letters; the first {LONGEST:,} are read.",)
    with pytest.raises(UserError, match="the query is empty"):
        reply(shelf, Question(" \n"), 1, Filters())


def test_a_video_asks_without_finding_itself(shelf, tmp_path):
    film = tmp_path / "film.mp4"
    (tmp_path / "folder").mkdir()
    encode(film, torch.zeros(12, 16, 16, 3, dtype=torch.uint8).numpy(), 12)
    shelf.moments = moments_of((str(film), 0, 10), (str(film), 10, 20), ("/b.mp4", 0, 10))
    shelf.vectors = angled(1.0, 0.9, 0.8)
    for name in (film, tmp_path / "folder" / ".." / "film.mp4"):
        assert [each.path for each in reply(shelf, Question(like=name), 5, Filters()).answers] == ["/b.mp4"]
    part = reply(shelf, Question(like=film, start=1.0, end=9.0), 5, Filters())
    assert [(each.path, each.start) for each in part.answers] == [(str(film), 10), ("/b.mp4", 0)]
    assert shelf.asked_with == (film, 1.0, 9.0)
    assert part.question == f"like {film} from 1 s to 9 s"
    with pytest.raises(UserError, match="the end after the start"):
        reply(shelf, Question(like=film, start=3.0, end=2.0), 5, Filters())


def test_a_picture_asks_too(shelf, tmp_path):
    picture, film = tmp_path / "a.png", tmp_path / "b.gif"
    Image.new("RGB", (8, 8)).save(picture)
    Image.new("RGB", (8, 8)).save(film, save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
    assert reply(shelf, Question(like=picture), 5, Filters()).answers
    assert shelf.asked_with == picture
    assert not is_picture(film), "it moves"
    with pytest.raises(UserError, match="is a picture"):
        reply(shelf, Question(like=picture, start=1.0), 5, Filters())
    with pytest.raises(UserError, match=r"like=.*gone.mp4: cannot be read"):
        reply(shelf, Question(like=tmp_path / "gone.mp4"), 5, Filters())


def test_queries_are_read_a_line_each(tmp_path):
    file = tmp_path / "queries.txt"
    file.write_text("﻿a man rides a bike\r\n\n  ein Hund läuft \n", encoding="utf-8")
    assert [str(each) for each in read_questions(file)] == ["a man rides a bike", "ein Hund läuft"]
    for content in (b"\xff\xfe", b" \n\n"):
        file.write_bytes(content)
        with pytest.raises(UserError, match="queries="):
            read_questions(file)
