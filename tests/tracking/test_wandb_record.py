"""Pictures of found videos, and knobs that cannot be."""

from pathlib import Path

import pytest
import torch

from retrieval.data.corpora.base import Record
from retrieval.data.dataset import EvaluationVideos, FrameReader
from retrieval.data.decoder import VideoError, VideoFile
from retrieval.data.sampling import even_frames
from retrieval.tracking.thumbnails import GAP, Thumbnails
from retrieval.tracking.wandb_record import WandbRecord


class Blinking(VideoFile):
    """Three frames of black, white, black."""

    total, fps, times = 3, 1.0, (0.0, 1.0, 2.0)

    def read(self, indices) -> torch.Tensor:
        return torch.stack([torch.full((3, 40, 40), 255 * (index == 1), dtype=torch.uint8) for index in indices])


def open_video(path: Path) -> VideoFile:
    if path.stem == "broken":
        raise VideoError("broken.mp4: damaged")
    return Blinking()


@pytest.fixture
def thumbnails() -> Thumbnails:
    records = [Record(name, Path(f"{name}.mp4"), (name,)) for name in ("whole", "broken")]
    return Thumbnails(
        EvaluationVideos(records, FrameReader(3, even_frames, lambda frames: frames, open_video), on_error="skip"), 20
    )


def test_the_middle_frame_stands_first_and_after_a_gap(thumbnails):
    strip = thumbnails.strip([0, 0, 0])
    assert strip.size == (3 * 20 + GAP, 20)
    assert strip.getpixel((10, 10)) == strip.getpixel((30 + GAP, 10)) == (255, 255, 255)


def test_a_broken_video_is_told_once_and_leaves_its_place_white(thumbnails):
    with pytest.warns(UserWarning, match=r"no picture of broken: broken\.mp4: damaged") as told:
        strip = thumbnails.strip([1, 0])
    assert strip.getpixel((10, 10)) == (255, 255, 255)
    assert thumbnails.image(1) is None
    assert len(told) == 1


@pytest.mark.parametrize("knob", ["queries", "top", "thumbnail"])
def test_a_table_without_rows_columns_or_pixels_is_refused(knob):
    knobs = {"queries": 4, "top": 5, "thumbnail": 112, "pictures": 0, "checkpoint": False} | {knob: 0}
    with pytest.raises(ValueError, match=rf"callbacks\.wandb\.{knob}=0, must be at least 1"):
        WandbRecord(**knobs)
