"""ActivityNet Captions (Krishna et al., ICCV 2017), paragraph to video: a video's sentences, joined, are its caption.

`train.json` (10,009 videos) trains and `val_1.json` (4,917) tests, as the captions of the test split are not public;
there is no validation split left. The lists `train_ids.json` and `val_ids.json` name 15 and 9 videos more, which have
no sentences and are left out by everyone.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from retrieval.data.corpora.published import PublishedSet
from retrieval.data.corpora.tables import check_sentences, read_json
from retrieval.errors import UserError

TABLES = {"train": "train.json", "test": "val_1.json"}
PREFIX = "v_"
Entries = dict[str, tuple[str, float | None]]  # each video's paragraph, and its seconds where the file has them


class ActivityNet(PublishedSet):
    """ActivityNet under `root`; `videos` is the folder of its videos, absolute or relative to `root`."""

    splits = ("train", "test")

    def captions(self, split: str) -> Mapping[str, Sequence[str]]:
        return {video_id: [text] for video_id, (text, _) in self._entries(split).items()}

    def durations(self, split: str) -> Mapping[str, float]:
        return {video_id: seconds for video_id, (_, seconds) in self._entries(split).items() if seconds is not None}

    def names(self, video_id: str) -> Sequence[str]:
        """Files are called `v_<id>`, or by the YouTube id alone."""
        return [video_id, video_id.removeprefix(PREFIX)]

    def _entries(self, split: str) -> Entries:
        if split not in self._read_entries:
            self._read_entries[split] = self._read(split)
        return self._read_entries[split]

    @cached_property
    def _read_entries(self) -> dict[str, Entries]:
        """What has been read, by split."""
        return {}

    def _read(self, split: str) -> Entries:
        path = self.annotation(TABLES[split])
        table = read_json(path)
        try:
            return {video_id: _entry(entry, f"{path}, {video_id[:80]}") for video_id, entry in table.items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no dict from video ids to 'sentences': {error!r}") from error


def _entry(entry: Any, where: str) -> tuple[str, float | None]:
    """A video's paragraph, and its seconds where they are told."""
    seconds = entry.get("duration")
    if seconds is not None and not (type(seconds) in (int, float) and 0 <= seconds < float("inf")):
        raise UserError(f"{where}: duration is {str(seconds)[:80]!r}, not a time in seconds")
    return check_sentences(entry["sentences"], f"{where}: sentences"), None if seconds is None else float(seconds)
