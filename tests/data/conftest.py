"""Generated videos and data modules of them, whole and broken ones."""

import random
from functools import partial

import av
import pytest
import torch

from retrieval.data import RetrievalDataModule
from retrieval.data.corpora import Folder, MovingShapes
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.decoder import open_decord
from retrieval.data.sampling import segment_frames
from retrieval.data.store import FrameStore
from retrieval.data.transforms import resize_and_crop

KNOBS = {
    "image_size": 32,
    "frames": 4,
    "sampler": segment_frames,
    "augmentation": resize_and_crop,
    "batch_size": 4,
    "eval_batch_size": 4,
    "num_workers": 0,
    "pairs": "video",
    "val_split": "val",
    "test_split": "test",
    "held_out": 0.25,
    "held_out_seed": 0,
    "validate_on_test": False,
    "bank_size": None,
    "bank_seed": 0,
    "on_error": "raise",
    "decoder": open_decord,
    "short_side": None,
    "check": "header",
    "deadline": None,
    "frames_from": "video",
    "store": FrameStore("nowhere", "nowhere", short_side=None, quality=95, rate=None),
    "words": 64,
    "seed": 5,
}


def tokenizer(texts):
    """A stand-in: the first 64 bytes."""
    return torch.tensor([list(text.encode().ljust(64, b" ")[:64]) for text in texts])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture
def shapes(root):
    """A function from changed knobs to a data module of 14, 4 and 6 moving shapes."""
    corpus = partial(
        MovingShapes, seed=0, train=14, val=4, test=6, size=32, fps=8, seconds=1.0, twin_share=0.0, captions=3
    )

    def build(**knobs):
        module = RetrievalDataModule(corpus=corpus, tokenizer=tokenizer, root=root, **(KNOBS | knobs))
        module.prepare_data()
        module.setup("fit")
        return module

    return build


@pytest.fixture
def broken(tmp_path):
    """A function from changed knobs to a data module of 8 videos a split, the first and the sixth of them broken."""
    rows = []
    for number in range(8):
        path = tmp_path / f"{number}.mp4"
        frames = torch.full((8, 32, 32, 3), 20 * number, dtype=torch.uint8)
        encode(path, frames.numpy(), fps=8)
        if number in (0, 5):
            path.write_bytes(path.read_bytes()[:200])
        rows += [
            f"{path.name},video {number} in words {words},{split}" for split in ("train", "test") for words in "ab"
        ]
    (tmp_path / "captions.csv").write_text("video,caption,split\n" + "\n".join(rows) + "\n")

    def build(**knobs):
        knobs = {"on_error": "skip", "val_split": "test"} | knobs
        return RetrievalDataModule(
            corpus=Folder, tokenizer=tokenizer, root=tmp_path, captions="captions.csv", **(KNOBS | knobs)
        )

    return build


@pytest.fixture(scope="package")
def whole(tmp_path_factory):
    """A video of 30 frames in 3 seconds with a key frame every 8."""
    from tests.data.test_decoder import moving, write

    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    write(path, moving(72, 100))
    return path


@pytest.fixture
def concealed(whole, tmp_path):
    """A video of which decord and FFmpeg conceal an error in the middle."""
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        packets = sorted((p for p in container.demux(video=0) if p.size), key=lambda packet: packet.pts)
    luck, hit = random.Random(0), packets[17]
    for _ in range(6):
        data[hit.pos + 12 + luck.randrange(hit.size - 12)] ^= 1 << luck.randrange(8)
    (tmp_path / "concealed.mp4").write_bytes(data)
    return tmp_path / "concealed.mp4"
