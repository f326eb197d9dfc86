"""LSMDC (Rohrbach et al., IJCV 2017): clips of films with one sentence each; 1,000 of them are the test split.

The tables have no header and six tab-separated columns: clip id, four times, sentence. A clip lies at
`<movie>/<clip id>.avi`, or anywhere else under its name.
"""

from collections.abc import Mapping, Sequence

from retrieval.data.corpora.published import PublishedSet
from retrieval.data.corpora.tables import check_text, read_text
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
            if len(cells) != COLUMNS:
                raise UserError(f"{path}, line {number}: {len(cells)} tab-separated cells, not {COLUMNS}")
            clip, sentence = (check_text(cells[place], f"{path}, line {number}: cell {place + 1}") for place in (0, 5))
            captions.setdefault(clip, []).append(sentence.strip())
        return captions
