"""The data module and bad input: broken and missing videos, impossible settings."""

import warnings
from functools import partial
from pathlib import Path

import pytest
import torch

from retrieval.data.batches import VideoBatch
from retrieval.data.decoder import VideoError
from retrieval.data.loading import possible_batch_size
from retrieval.data.sampling import even_frames
from retrieval.errors import UserError
from tests.data.recorder import Recorder, fit, trainer


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_video_is_raised_by_name(broken, tmp_path, num_workers):
    with pytest.raises(VideoError, match=r"0\.mp4: not a readable video(.|\n)*data\.on_error=skip"):
        trainer(tmp_path).test(Recorder(), broken(on_error="raise", num_workers=num_workers))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_broken_videos_are_replaced_and_listed_once(broken, tmp_path, num_workers):
    datamodule, model = broken(num_workers=num_workers), Recorder()
    runner = trainer(tmp_path, max_epochs=2, enable_checkpointing=False, limit_val_batches=0)
    with pytest.warns(UserWarning, match="2 videos could not be read"):
        runner.fit(model, datamodule)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*could not be read")
        trainer(tmp_path).test(model, datamodule)
    assert len(datamodule.skipped) == 2
    assert {Path(message.split(": ")[0]).name for message in datamodule.skipped} == {"0.mp4", "5.mp4"}
    assert len(model.seen) == 4  # two epochs of two whole batches
    videos = torch.cat([batch.video for batch in model.evaluated if isinstance(batch, VideoBatch)])
    assert videos.tolist() == [1, 1, 2, 3, 4, 6, 6, 7]
    for frames, words in model.seen:
        numbers = [int(bytes(row.tolist()).split()[1]) for row in words]
        brightness = frames.float().mean(dim=(1, 2, 3, 4))
        torch.testing.assert_close(brightness, 20.0 * torch.tensor(numbers), atol=4, rtol=0)


def test_a_split_with_no_readable_video_ends(broken, tmp_path):
    datamodule = broken()
    for path in tmp_path.glob("*.mp4"):
        path.write_bytes(b"")
    datamodule.setup("test")
    with pytest.raises(VideoError, match=r"none of the 8 samples can be read, the first: .*0\.mp4"):
        next(iter(datamodule.test_dataloader()[0]))


def test_missing_files_are_named_before_the_first_batch(broken, tmp_path):
    (tmp_path / "3.mp4").unlink()
    with pytest.raises(ValueError, match=r"1 video files of the split 'test' are missing, the first: .*3\.mp4"):
        broken(on_error="raise").setup("test")
    broken().setup("test")


def test_a_folder_smaller_than_a_batch_trains_with_what_there_is(shapes, tmp_path):
    with pytest.warns(UserWarning, match=r"data.batch_size=16 on 1 device\(s\), but the split has 14 .* 14 at a time"):
        (seen,) = fit(shapes(batch_size=16), tmp_path, max_epochs=1)
    assert len(seen[0]) == 14


@pytest.mark.parametrize(("samples", "ranks"), [(0, 1), (1, 1), (3, 4)])
def test_one_pair_is_too_few_to_train_on(samples, ranks):
    with pytest.raises(UserError, match=rf"needs {max(2, ranks)} samples or more, the split has {samples}"):
        possible_batch_size(8, samples, ranks)
    assert possible_batch_size(8, 8 * ranks, ranks) == 8


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("pairs", "both"),
        ("on_error", "ignore"),
        ("frames", 0),
        ("batch_size", 0),
        ("num_workers", -1),
        ("short_side", 0),
        ("bank_size", 0),
    ],
)
def test_impossible_settings_are_named(shapes, knob, value):
    with pytest.raises(ValueError, match=f"data.{knob}="):
        shapes(**{knob: value})


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_an_impossible_rate_is_no_broken_video(shapes, rate, on_error):
    with pytest.raises(ValueError, match=rf"^data\.sampler\.rate={rate} frames a second, must be positive$"):
        shapes(sampler=partial(even_frames, rate=rate), on_error=on_error)
