"""A tiny model and an index of a few videos that the tests of this room share."""

from pathlib import Path

import pytest
import torch

from retrieval import load_model
from retrieval.data.corpora import MovingShapes
from retrieval.data.decoder import open_pyav
from retrieval.reducers import TempMe

FRAMES = 4


@pytest.fixture(scope="session")
def encoder():
    """Of random weights, with a reducer."""
    from retrieval.search.encoder import Encoder

    torch.manual_seed(0)
    return Encoder(load_model("ViT-tiny-8", TempMe(FRAMES, join_blocks=[8, 9], join_clips=[2, 2])), FRAMES, words=12)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """The records of ten embedded videos, with twins in reverse order."""
    root = tmp_path_factory.mktemp("shapes")
    corpus = MovingShapes(root, 0, train=1, val=1, test=10, size=64, fps=12, seconds=2.0, twin_share=0.4, captions=2)
    corpus.prepare()
    return corpus.records("test")


@pytest.fixture(scope="session")
def made(encoder, shapes, tmp_path_factory):
    """An index of them, cut into moments of a second; not to be changed."""
    from retrieval.search import Index
    from retrieval.search.cutting import Cut

    index = Index.create(tmp_path_factory.mktemp("index") / "made", encoder, Cut(window=1.0, stride=0.5))
    index.add(folder_of(shapes), workers=0, open=open_pyav)
    return index


def folder_of(records) -> Path:
    return records[0].path.parent
