"""ActivityNet Captions (Krishna et al., ICCV 2017), paragraph to video: a video's sentences, joined, are its caption.

`train.json` (10,009 videos) trains and `val_1.json` (4,917) tests, as the captions of the test split are not public;
there is no validation split left. The lists `train_ids.json` and `val_ids.json` name 15 and 9 videos more, which have
no sentences and are left out by everyone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from retrieval.data.corpora.benchmark import Benchmark, paragraph, read_json

TABLES = {"train": "train.json", "test": "val_1.json"}
PREFIX = "v_"


class ActivityNet(Benchmark):
    """ActivityNet under `root`; `videos` is the folder of its videos, absolute or relative to `root`."""

    splits = ("train", "test")

    def captions(self, split: str) -> Mapping[str, Sequence[str]]:
        path = self.annotation(TABLES[split])
        try:
            return {video_id: [paragraph(entry["sentences"])] for video_id, entry in read_json(path).items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no dict from video ids to 'sentences': {error!r}") from error

    def _video(self, video_id: str) -> Path | None:
        """Files are called `v_<id>`, or by the YouTube id alone."""
        return super()._video(video_id) or super()._video(video_id.removeprefix(PREFIX))
