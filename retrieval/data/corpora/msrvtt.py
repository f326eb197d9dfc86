"""MSR-VTT (Xu et al., CVPR 2016): 10,000 clips with 20 captions each.

`MSRVTT_data.json` holds all captions and the official split (6,513 / 497 / 2,990). The field reports on the 1k-A test
split (Yu et al., ECCV 2018: `MSRVTT_JSFUSION_test.csv`, one caption a video), with 9,000 or 7,010 training videos and
no validation split that all agree on.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retrieval.data.corpora.published import PublishedSet, read_json, read_text, wanted_captions
from retrieval.errors import UserError

PARTITIONS = ("9k", "7k", "full")
TEST = "MSRVTT_JSFUSION_test.csv"
CAPTIONS = "MSRVTT_data.json"
OFFICIAL = {"train": "train", "val": "validate", "test": "test"}


class MSRVTT(PublishedSet):
    """MSR-VTT under `root`.

    Args:
        root: the folder of the set.
        videos: the folder of its videos, absolute or relative to `root`.
        partition: "9k" or "7k": that training list, tested on 1k-A; "full": the official split, all captions each.
    """

    def __init__(self, root: str | Path, videos: str | Path = ".", partition: str = "9k") -> None:
        super().__init__(root, videos)
        if partition not in PARTITIONS:
            raise UserError(f"data.corpus.partition={partition!r}: choose one of {', '.join(PARTITIONS)}")
        self.partition = partition
        if partition != "full":
            self.splits = ("train", "test")

    def captions(self, split: str) -> Mapping[str, Sequence[str]]:
        if self.partition != "full" and split == "test":
            return {row["video_id"]: [row["sentence"]] for row in self._rows(TEST, "video_id", "sentence")}
        path = self.annotation(CAPTIONS)
        try:
            official, sentences = _read(read_json(path))
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} has no 'videos' and 'sentences' as MSR-VTT's: {error!r}") from error
        wanted = official[OFFICIAL[split]] if self.partition == "full" else self._training_ids()
        return wanted_captions(wanted, sentences, split, path)

    def _training_ids(self) -> list[str]:
        return [row["video_id"] for row in self._rows(f"MSRVTT_train.{self.partition}.csv", "video_id")]

    def _rows(self, name: str, *columns: str) -> list[dict[str, str]]:
        path = self.annotation(name)
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
        for column in columns:
            if not rows or rows[0].get(column) is None:
                raise UserError(f"{path}: no column {column!r}; found: {', '.join(rows[0]) if rows else 'no rows'}")
        return rows


def _read(content: dict[str, Any]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The video ids of each official split, and the captions of each video id."""
    official: dict[str, list[str]] = {name: [] for name in OFFICIAL.values()}
    sentences: dict[str, list[str]] = {}
    for video in content["videos"]:
        official[video["split"]].append(video["video_id"])
    for sentence in content["sentences"]:
        sentences.setdefault(sentence["video_id"], []).append(sentence["caption"])
    return official, sentences
