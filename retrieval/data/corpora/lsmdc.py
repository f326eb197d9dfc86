"""LSMDC (Rohrbach et al., IJCV 2017): clips of films with one sentence each; 1,000 of them are the test split.

The tables have no header and six tab-separated columns: clip id, four times, sentence. A clip lies at
`<movie>/<clip id>.avi`, or anywhere else under its name.
"""

from collections.abc import Mapping, Sequence

from retrieval.data.corpora.published import PublishedSet, read_text
from retrieval.errors import UserError

TABLES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
COLUMNS = 6


class LSMDC(PublishedSet):
    """LSMDC under `root`; `videos` is the folder of its clips, absolute or relative to `root`."""

    def captions(self, split: str) -> Mapping[str, Sequence[str]]:
        path = self.annotation(TABLES[split])
        captions: dict[str, list[str]] = {}
        for number, line in enumerate(read_text(path).split("\n"), 1):
            if not line.strip():
                continue
            cells = line.split("\t")
            if len(cells) != COLUMNS or not cells[-1].strip():
                raise UserError(
                    f"{path}, line {number}: {len(cells)} tab-separated cells, not {COLUMNS} with a sentence"
                )
            captions.setdefault(cells[0], []).append(cells[-1].strip())
        return captions
