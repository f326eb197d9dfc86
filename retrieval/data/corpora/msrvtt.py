"""MSR-VTT (Xu et al., CVPR 2016): 10,000 clips with 20 captions each.

`MSRVTT_data.json` holds all captions and the official split (6,513 / 497 / 2,990). The field reports on the 1k-A test
split (Yu et al., ECCV 2018: `MSRVTT_JSFUSION_test.csv`, one caption a video), with 9,000 or 7,010 training videos and
no validation split that all agree on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retrieval.data.corpora.published import PublishedSet, wanted_captions
from retrieval.data.corpora.tables import check_text, read_csv, read_json
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
            return {video_id: [sentence] for video_id, sentence in self._rows(TEST, "video_id", "sentence")}
        path = self.annotation(CAPTIONS)
        try:
            official, sentences = _read(read_json(path), path)
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} has no 'videos' and 'sentences' as MSR-VTT's: {error!r}") from error
        wanted = official[OFFICIAL[split]] if self.partition == "full" else self._training_ids()
        return wanted_captions(wanted, sentences, split, path)

    def _training_ids(self) -> list[str]:
        return [video_id for (video_id,) in self._rows(f"MSRVTT_train.{self.partition}.csv", "video_id")]

    def _rows(self, name: str, *columns: str) -> list[tuple[str, ...]]:
        """These columns of a list, the first of which names each video once."""
        path = self.annotation(name)
        rows = read_csv(path)
        for column in columns:
            if not rows or column not in rows[0][1]:
                found = ", ".join(rows[0][1])[:200] if rows else "no rows"
                raise UserError(f"{path}: no column {column!r}; found: {found}")
        cells = [tuple(check_text(row[name], f"{where}: {name}") for name in columns) for where, row in rows]
        seen: set[str] = set()
        for (where, _), (video_id, *_) in zip(rows, cells, strict=True):
            if video_id in seen:
                raise UserError(f"{where}: {video_id} stands there twice")
            seen.add(video_id)
        return cells


def _read(content: dict[str, Any], path: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The video ids of each official split, and the captions of each video id."""
    official: dict[str, list[str]] = {name: [] for name in OFFICIAL.values()}
    sentences: dict[str, list[str]] = {}
    for video in content["videos"]:
        official[video["split"]].append(check_text(video["video_id"], f"{path}: a video's video_id"))
    for number, sentence in enumerate(content["sentences"], 1):
        caption = check_text(sentence["caption"], f"{path}, sentence {number}: caption")
        sentences.setdefault(sentence["video_id"], []).append(caption)
    return official, sentences
