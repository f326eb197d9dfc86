"""A corpus of one's own: one Python file and one yaml, both outside this package."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from retrieval.data.corpora import Record
from retrieval.data.corpora.moving_shapes import encode
from retrieval.errors import UserError
from retrieval.jobs.preparing import build_corpus
from tests.data.conftest import tokenizer

ROOT = Path(__file__).parents[2]
MODULE = """
from pathlib import Path

from retrieval.data.corpora import Corpus, Record


class Cooking(Corpus):
    splits = ("train", "test")

    def __init__(self, root, table, language):
        self.root, self.table, self.language = Path(root), table, language

    def records(self, split):
        rows = [line.split(";") for line in (self.root / self.table).read_text().splitlines()]
        rows = [(name, f"{text} in {self.language}") for part, name, text in rows if part == split]
        return [Record(name, self.root / name, (text,)) for name, text in rows]
"""
CONFIG = """
defaults:
  - default
  - _self_

table: table.txt
corpus:
  _target_: cooking_corpus.Cooking
  _partial_: true
  language: English
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder with the corpus, its config, and six videos."""
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "cooking.yaml").write_text(CONFIG)
    (tmp_path / "cooking_corpus.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    rows = []
    for number in range(6):
        encode(tmp_path / f"{number}.mp4", np.full((8, 40, 40, 3), 30 * number, np.uint8), fps=8)
        rows.append(f"{'test' if number > 3 else 'train'};{number}.mp4;dish {number}")
    (tmp_path / "table.txt").write_text("\n".join(rows))
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        overrides = ["data=cooking", f"hydra.searchpath=[file://{tmp_path / 'conf'}]", f"data.root={tmp_path}"]
        small = ["data.frames=2", "data.num_workers=0", "data.batch_size=2", "data.held_out=0.5"]
        return compose("train", overrides=[*overrides, *small])


def test_it_gives_batches_like_any_other(outside):
    module = instantiate(outside.data, image_size=32, tokenizer=tokenizer)
    for stage in ("fit", "test"):
        module.setup(stage)
    assert module.sizes() == {"train": (2, 2), "val": (2, 2), "test": (2, 2)}
    (batch,) = module.train_dataloader()
    assert batch.frames.shape == (2, 2, 3, 32, 32)
    assert bytes(batch.token_ids[0].tolist()).decode().strip().endswith("in English")


def test_it_is_built_without_a_model_to_prepare_it(outside):
    assert [record.video_id for record in build_corpus(outside.data).records("test")] == ["4.mp4", "5.mp4"]


@pytest.mark.parametrize("captions", [(), (" ",)])
def test_captions_are_at_least_one_text(captions):
    with pytest.raises(UserError, match=r"a\.mp4: captions are .*, not a tuple of texts"):
        Record("a.mp4", Path("a.mp4"), captions)
