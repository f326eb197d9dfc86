"""Held-out validation: seeded, disjoint, the same wherever the videos lie; and selection on test is told."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from retrieval.data import RetrievalDataModule
from retrieval.data.corpora import Corpus, Record
from retrieval.data.protocol import hold_out
from retrieval.errors import UserError
from tests.data.conftest import KNOBS, tokenizer


def records(count: int, folder: str = "videos", parts: int = 1) -> list[Record]:
    return [Record(f"{i}[{p}]", Path(folder, f"{i}.mp4"), ("a cat",)) for i in range(count) for p in range(parts)]


class Listed(Corpus):
    """Twenty training videos and four test videos that exist, of a set with the given splits."""

    def __init__(self, root: Path, splits: Sequence[str] = ("train", "test")) -> None:
        self.root, self.splits = root, tuple(splits)

    def records(self, split: str) -> list[Record]:
        if split not in self.splits:
            raise UserError(f"no split {split}")
        found = records({"train": 20, "val": 3, "test": 4}[split], str(self.root))
        for record in found:
            record.path.touch()
        return found


@pytest.fixture
def data(tmp_path):
    def build(splits=("train", "test"), **knobs) -> RetrievalDataModule:
        corpus = partial(Listed, splits=splits)
        return RetrievalDataModule(corpus=corpus, tokenizer=tokenizer, root=tmp_path, **(KNOBS | knobs))

    return build


def ids(found: Sequence[Record]) -> list[str]:
    return [record.video_id for record in found]


def test_training_and_validation_share_no_video_and_lose_none():
    train, val = hold_out(records(100, parts=2), 0.1, seed=0)
    assert len(val) == 20
    assert len({record.path for record in val}) == 10
    assert not {record.path for record in train} & {record.path for record in val}
    assert sorted(ids(train) + ids(val)) == sorted(ids(records(100, parts=2)))


def test_the_choice_is_the_seeds_and_not_the_folders():
    def choice(folder: str, seed: int) -> list[str]:
        return ids(hold_out(records(200, folder), 0.1, seed)[1])

    assert choice("a", 0) == choice("b/c", 0) != choice("a", 1)
    kept = set(choice("a", 0)) - set(ids(hold_out(records(200)[:-1], 0.1, 0)[1]))
    assert len(kept) <= 1  # a video less changes the choice by one at most


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_impossible_shares_are_named(share):
    with pytest.raises(ValueError, match=rf"data\.held_out={share}"):
        hold_out(records(10), share, 0)
    with pytest.raises(ValueError, match="of 1 training videos leaves none"):
        hold_out(records(1), 0.5, 0)


def test_a_set_without_validation_holds_out_training_videos(data):
    module = data()
    module.setup("fit")
    assert (len(module.records["train"]), len(module.records["val"])) == (15, 5)
    assert module.selected_on == "5 of 20 training videos, held out with seed 0"
    again = data(seed=7, test_split="val")
    again.setup("test")
    assert ids(again.records["val"]) == ids(module.records["val"])


def test_validation_on_test_trains_on_everything_and_is_told(data):
    module = data(validate_on_test=True)
    module.setup("fit")
    assert {split: len(found) for split, found in module.records.items()} == {"train": 20, "test": 4}
    assert module.selected_on == "test"
    assert data(val_split="test").selected_on == "test"


def test_an_agreed_validation_split_is_used(data):
    module = data(splits=("train", "val", "test"))
    module.setup("fit")
    assert (len(module.records["train"]), len(module.records["val"])) == (20, 3)
    assert module.selected_on == "val"
