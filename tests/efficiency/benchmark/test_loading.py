"""The benchmark runs on what it finds, names the fastest, and its stored frames are those of its videos."""

import numpy as np
import pytest
import torch

from retrieval.benchmark import main
from retrieval.data.corpora.base import Record
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.decoder import open_decord
from retrieval.data.sampling import even_frames
from retrieval.data.store import FrameStore
from retrieval.data.store.preparation import prepare
from retrieval.efficiency.benchmark.loading import advice, readable, write_video
from retrieval.errors import UserError

OPTIONS = ["--frames", "2", "--workers", "0", "--backbone", "ViT-tiny-8", "--batch-size", "1"]


@pytest.fixture
def folder_of_videos(tmp_path):
    """Two videos, one of them in a folder, beside a table."""
    for path in (tmp_path / "a.mp4", tmp_path / "deep" / "b.mp4"):
        path.parent.mkdir(exist_ok=True)
        encode(path, np.full((8, 48, 48, 3), 90, np.uint8), fps=8)
    (tmp_path / "captions.csv").write_text("video,caption\na.mp4,a cat\n")
    return tmp_path


@pytest.mark.slow
def test_the_benchmarks_stored_frames_are_those_of_its_video(tmp_path):
    path = tmp_path / "noise.mp4"
    write_video(path, 0)
    store = FrameStore(tmp_path / "frames", tmp_path, short_side=224, quality=95, rate=3.0)
    prepare([Record(path.name, path, ("a",))], store, open_decord, even_frames, 12, 0)
    stored, video = store.open(path), open_decord(path, 224)
    picked = even_frames(video.total, video.fps, 12)
    difference = stored.read(picked).double() - video.read(picked).double()
    assert 10 * torch.log10(255**2 / difference.square().mean()) >= 40


@pytest.mark.slow
def test_the_benchmark_measures_generated_videos(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark", "loading", "--count", "2", *OPTIONS])
    main()
    printed = capsys.readouterr().out
    assert "ViT-tiny-8 on cpu: a training step of 1 videos takes" in printed
    assert "data.num_workers=0" in printed


@pytest.mark.parametrize(
    ("consumed", "named"),
    [
        (5.0, "from data.num_workers=2 on, with data.frames_from=video"),
        (15.0, "from data.num_workers=2 on, with data.frames_from=video"),
        (90.0, "from data.num_workers=2 on, with data.frames_from=store"),
        (1000.0, "with data.num_workers=2 it delivers 10 % of what a step takes"),
    ],
)
def test_the_knob_to_turn_is_named(consumed, named):
    """None of them is num_workers=0, where each step waits while its batch is read."""
    rates = {0: {"decord": 10.0, "store": 50.0}, 2: {"decord": 20.0, "store": 100.0}}
    assert named in advice(rates, consumed)


def test_without_workers_more_are_advised_however_fast_reading_is():
    assert "with data.num_workers=0 each step waits" in advice({0: {"decord": 10.0, "store": 50.0}}, 1.0)


def test_too_few_generated_videos_are_told(monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmark", "loading", "--count", "1", *OPTIONS])
    with pytest.raises(SystemExit, match="error: --count 1: needs 2 videos or more"):
        main()


def test_what_is_no_video_is_left_out_and_said(folder_of_videos, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark", "loading", "--videos", str(folder_of_videos), *OPTIONS])
    main()
    printed = capsys.readouterr().out
    assert "2 frames of a video, on one core" in printed
    assert "captions.csv: not a readable video" in printed
    for line in ("decord", "pyav", "store", "fastest: "):
        assert line in printed


def test_a_folder_with_too_few_videos_is_told(folder_of_videos):
    (folder_of_videos / "deep" / "b.mp4").unlink()
    with pytest.raises(UserError, match=r"--videos .*: needs 2 videos or more, there are 1"):
        readable(folder_of_videos, {"decord": open_decord})
