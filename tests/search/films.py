"""Films of several scenes of moving shapes, and an index of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval.data import scenes
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.decoder import open_pyav
from retrieval.search import Index
from retrieval.search.cutting import Cut
from retrieval.search.encoder import Encoder
from tests.search.checkpoint import write

FPS, SECONDS = 12, 2


def write_films(folder: Path, names: Sequence[str], scenes_each: int = 3, size: int = 64) -> dict[str, list[str]]:
    """H.264 files whose scenes last two seconds each; returns what is to be seen in them, in order."""
    random = np.random.default_rng(5)
    told: dict[str, list[str]] = {}
    for number, name in enumerate(names):
        shown = [scenes.random_scene(random) for _ in range(scenes_each)]
        parts = [
            scenes.render(scene, FPS * SECONDS, size, np.random.default_rng((number, place)))
            for place, scene in enumerate(shown)
        ]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        encode(folder / name, np.concatenate(parts), FPS)
        told[name] = [scenes.captions_of(scene, 1)[0] for scene in shown]
    return told


def build_index(folder: Path, encoder: Encoder) -> Index:
    """`folder`/index of `folder`/films, with moments of two seconds, one a second; its model is a checkpoint there."""
    checkpoint = write(folder / "best.ckpt", encoder.model, {"data.frames": encoder.frames, "words": encoder.words})
    index = Index.create(folder / "index", checkpoint, Cut(window=2.0, stride=1.0))
    index.add([folder / "films"], workers=0, open=open_pyav)
    return index
