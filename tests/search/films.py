"""Films of several scenes of moving shapes, and an index of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval.data import scenes
from retrieval.data.corpora.moving_shapes import encode
from retrieval.search import Index
from retrieval.search.cutting import Cut
from retrieval.search.encoder import Encoder
from tests.conftest import TINY_CLIP

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


def build_index(place: Path, folder: Path, model: Encoder | Path = TINY_CLIP) -> Index:
    """An index with moments of two seconds, one a second."""
    index = Index.create(place, model, Cut(window=2.0, stride=1.0))
    index.add([folder], workers=0)
    return index
