"""MSVD (Chen and Dolan, ACL 2011): 1,200 / 100 / 670 videos with about 40 captions each.

`train_list.txt`, `val_list.txt` and `test_list.txt` name the videos, `raw-captions.pkl` is a pickled dict from video id
to captions, each a list of words. Every caption is a query of its own. A pickle may run anything, so that this one is
read by an unpickler that builds plain values and nothing else.
"""

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from retrieval.data.corpora.published import PublishedSet, wanted_captions
from retrieval.data.corpora.tables import check_text, read_text
from retrieval.errors import UserError

CAPTIONS = "raw-captions.pkl"


class MSVD(PublishedSet):
    """MSVD under `root`; `videos` is the folder of its videos, absolute or relative to `root`."""

    def captions(self, split: str) -> Mapping[str, Sequence[str]]:
        path = self.annotation(CAPTIONS)
        wanted = read_text(self.annotation(f"{split}_list.txt")).split()
        return wanted_captions(wanted, read_captions(path), split, path)


def read_captions(path: Path) -> dict[str, list[str]]:
    """The captions of each video; nothing in the file is executed.

    Raises:
        UserError: a file that asks for more than plain values, is damaged, or is no dict of lists of word lists.
    """
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="utf-8").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: {error or type(error).__name__}") from error
    try:
        return {str(video_id): _texts(captions, f"{path}, {video_id}") for video_id, captions in content.items()}
    except (AttributeError, TypeError) as error:
        raise UserError(f"{path} is no dict from video ids to captions as lists of words: {error}") from error


class _PlainUnpickler(pickle._Unpickler):
    """Builds dicts, lists, tuples, strings and numbers, which need no class or function to be looked up.

    Python's own one, not that in C, of which a damaged number asks for all the memory there is.
    """

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(
            f"refused, for it asks for {module}.{name}; a file of captions holds dict, list, tuple, str and numbers "
            "only, and nothing of it was run"
        )


def _texts(captions: Any, where: str) -> list[str]:
    if not isinstance(captions, list | tuple):
        raise TypeError(f"{type(captions).__name__} where a list belongs")
    texts = (words if isinstance(words, str) else " ".join(words) for words in captions)
    return [check_text(text, f"{where}: caption {number}") for number, text in enumerate(texts, 1)]
