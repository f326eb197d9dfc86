"""Decoding, held against a full sequential decode by PyAV, and its errors."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from retrieval.data.decoding import VideoError, decode

from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.sampling import even_frames

CLIPS = Path(__file__).parents[3] / "shared" / "clips"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="no ../shared/clips")
FILES = sorted(CLIPS.glob("*/*.*"), key=lambda path: path.name)
READABLE = [path for path in FILES if path.name != "corrupted.mp4"]


def twelve(total, fps):
    return even_frames(total, fps, 12)


def every(total, fps):
    return range(total)


def upright_by_pyav(path):
    with av.open(str(path)) as container:
        stream = max(container.streams.video, key=lambda stream: stream.width * stream.height)
        return [np.rot90(f.to_ndarray(format="rgb24"), f.rotation // 90) for f in container.decode(stream)]


@pytest.fixture
def ramp(tmp_path):
    """A video whose frame i is gray of brightness 8 i."""
    frames = np.broadcast_to(np.arange(30, dtype=np.uint8)[:, None, None, None] * 8, (30, 48, 64, 3)).copy()
    encode(tmp_path / "ramp.mp4", frames, fps=10)
    return tmp_path / "ramp.mp4"


@needs_clips
@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.name)
def test_every_clip_gives_as_many_frames_as_asked_for(path):
    frames = decode(path, twelve, short_side=96)
    assert frames.shape[:2] == (12, 3)
    assert frames.dtype == torch.uint8
    assert min(frames.shape[2:]) in (96, 50)  # unordered.mov has 50 pixels and is not enlarged


@needs_clips
@pytest.mark.parametrize(
    "name",
    ["makeup.avi", "pancake.mkv", "carphone.mp4", "telescope.mp4", "av1_video.mkv", "h265_10bits.mp4", "video_90.mov"],
)
def test_frames_are_those_of_a_full_decode(name):
    path = next(path for path in FILES if path.name == name)
    expected = upright_by_pyav(path)
    indices = twelve(len(expected), 30.0)
    frames = decode(path, lambda total, fps: indices).permute(0, 2, 3, 1).numpy()
    for frame, index in zip(frames, indices, strict=True):
        assert frame.shape == expected[index].shape
        assert np.abs(frame.astype(int) - expected[index]).mean() < 3  # two conversions from YUV differ by rounding


@needs_clips
def test_the_clips_table_holds():
    assert len(decode(CLIPS / "formats/av1_video.mkv", every)) >= 10
    assert decode(CLIPS / "formats/unordered.mov", every).unique().tolist() == [255]
    assert decode(CLIPS / "formats/video_0.mov", twelve).shape == (12, 3, 320, 568)
    assert decode(CLIPS / "formats/video_90.mov", twelve).shape == (12, 3, 568, 320)
    assert decode(CLIPS / "formats/video_90.mov", twelve, short_side=160).shape == (12, 3, 284, 160)


@needs_clips
def test_the_corrupted_clip_is_named():
    with pytest.raises(VideoError, match=r"corrupted\.mp4: damaged"):
        decode(CLIPS / "formats/corrupted.mp4", twelve)


def test_frames_come_in_the_order_asked_for(ramp):
    frames = decode(ramp, lambda total, fps: [20, 3, 3, 29])
    assert frames.shape == (4, 3, 48, 64)
    brightness = frames.float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(brightness, torch.tensor([160.0, 24.0, 24.0, 232.0]), atol=3, rtol=0)


def test_start_and_end_are_seconds(ramp):
    frames = decode(ramp, lambda total, fps: even_frames(total, fps, 2, start=1.0, end=2.0))
    brightness = frames.float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(brightness, torch.tensor([80.0, 152.0]), atol=3, rtol=0)


def test_frames_shrink_but_never_grow(ramp):
    assert decode(ramp, twelve, short_side=24).shape == (12, 3, 24, 32)
    assert decode(ramp, twelve, short_side=100).shape == (12, 3, 48, 64)


def test_the_best_of_several_streams_is_read(tmp_path):
    both = av.stream.Disposition.default  # as telescope.mp4 has it
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    path = tmp_path / "two_streams.mp4"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream, (width, height) in zip(streams, ((64, 48), (128, 96)), strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = both
        for stream in streams:
            for _ in range(5):
                frame = av.VideoFrame.from_ndarray(noise[: stream.height, : stream.width].copy(), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    assert decode(path, every).shape == (5, 3, 96, 128)


def test_a_broken_file_is_named_with_its_cause(tmp_path, ramp):
    whole = ramp.read_bytes()
    damaged = whole[: len(whole) // 2] + bytes(len(whole) // 4) + whole[-(len(whole) // 4) :]
    contents = {"empty": b"", "text": b"no video at all\n" * 99, "truncated": whole[: len(whole) // 2]}
    for name, content in contents.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
        with pytest.raises(VideoError, match=rf"{name}\.mp4: (the file is empty|not a readable video)"):
            decode(tmp_path / f"{name}.mp4", twelve)
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    with pytest.raises(VideoError, match=r"damaged\.mp4"):
        decode(tmp_path / "damaged.mp4", twelve)
    with pytest.raises(VideoError, match=r"absent\.mp4: no such file"):
        decode(tmp_path / "absent.mp4", twelve)


def test_a_file_that_is_cut_after_its_index_is_damaged(tmp_path, ramp):
    fast = tmp_path / "fast.mp4"
    with av.open(str(ramp)) as source, av.open(str(fast), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole = fast.read_bytes()
    assert len(decode(fast, every)) == 30
    fast.write_bytes(whole[: -len(whole) // 4])
    with pytest.raises(VideoError, match=r"fast\.mp4"):
        decode(fast, every)


def test_a_clip_beyond_the_end_is_named(ramp):
    with pytest.raises(VideoError, match=r"ramp\.mp4: the clip starts at 9.0 s, but the video ends at 3.00 s"):
        decode(ramp, lambda total, fps: even_frames(total, fps, 4, start=9.0))


def test_a_setting_is_no_fault_of_the_video(ramp):
    with pytest.raises(ValueError, match=r"^data\.sampler\.rate=0\.0"):
        decode(ramp, lambda total, fps: even_frames(total, fps, 4, rate=0.0))
