"""DiDeMo (Hendricks et al., ICCV 2017), paragraph to video: all descriptions of a video, joined, are its one caption.

`train_data.json`, `val_data.json` and `test_data.json` are lists with a `video` and a `description` an entry. Video
names end in the container they were uploaded in (`….mov`), whatever the files on disk end in.
"""

from collections.abc import Mapping, Sequence

from retrieval.data.corpora.published import PublishedSet, bare_name
from retrieval.data.corpora.tables import check_sentences, check_text, read_json
from retrieval.errors import UserError


class DiDeMo(PublishedSet):
    """DiDeMo under `root`; `videos` is the folder of its videos, absolute or relative to `root`."""

    def captions(self, split: str) -> Mapping[str, Sequence[str]]:
        path = self.annotation(f"{split}_data.json")
        descriptions: dict[str, list[str]] = {}
        try:
            for number, entry in enumerate(read_json(path), 1):
                video = check_text(entry["video"], f"{path}, entry {number}: video")
                descriptions.setdefault(bare_name(video), []).append(entry["description"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} is no list of entries with 'video' and 'description': {error!r}") from error
        return {
            video_id: [check_sentences(texts, f"{path}, {video_id}: description")]
            for video_id, texts in descriptions.items()
        }
