"""Decoders: one answer of all, held against a full sequential decode, and their errors."""

import sys
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from retrieval.data.corpora import Record
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.dataset import FrameReader
from retrieval.data.decoder import VideoError, find_torchcodec, open_decord, open_pyav
from retrieval.data.decoder.decord import DecordFile, is_mistaken, serves
from retrieval.data.decoder.index import read_index
from retrieval.data.decoder.pyav import PyAVFile
from retrieval.data.sampling import even_frames
from retrieval.data.transforms import resize_and_crop
from retrieval.errors import UserError

CLIPS = Path(__file__).parents[3] / "shared" / "clips"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="no ../shared/clips")
FILES = sorted(CLIPS.glob("*/*.*"), key=lambda path: path.name)
READABLE = [path for path in FILES if path.name != "corrupted.mp4"]
DECODERS = [open_decord, open_pyav]


def write(path, frames, codec="libx264", pix_fmt="yuv420p", rotation=0, **options):
    """A video of frames [frame, height, width, 3] with B-frames and several key frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        stream.options = {"g": "8", "bf": "2", "sc_threshold": "0", "threads": "1"} | options
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def moving(height, width, count=30):
    """Frames of a soft picture that moves; each differs from its neighbours."""
    grid = np.random.default_rng(0).normal(128, 60, (1, 3, 12, 12)).astype(np.float32)
    size = (height + count, width + count)
    picture = torch.nn.functional.interpolate(torch.from_numpy(grid), size, mode="bicubic")[0].permute(1, 2, 0)
    picture = picture.clamp(0, 255).byte().numpy()
    return np.stack([picture[step : step + height, step : step + width] for step in range(count)])


SYNTHETIC = {
    "b_frames.mp4": {"size": (72, 100)},
    "b_frames.mkv": {"size": (72, 100)},
    "b_frames.avi": {"size": (72, 100)},
    "b_frames.ts": {"size": (72, 100)},
    "b_frames.flv": {"size": (72, 100)},
    "mpeg4.avi": {"size": (72, 100), "codec": "mpeg4"},
    "open_gop.mp4": {"size": (72, 100), "x264-params": "open-gop=1:keyint=8:min-keyint=8:bframes=2:b-adapt=0"},
    "odd.mp4": {"size": (51, 77), "pix_fmt": "yuv444p"},
    "rotated.mp4": {"size": (72, 100), "rotation": 90},
    "rotated_upright.mp4": {"size": (72, 144), "rotation": -90},
    "upright_144p.mp4": {"size": (256, 144)},
    "narrow.mp4": {"size": (48, 16)},
}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    for name, knobs in SYNTHETIC.items():
        write(folder / name, moving(*knobs["size"]), **{knob: v for knob, v in knobs.items() if knob != "size"})
    return folder


@pytest.fixture
def ramp(tmp_path):
    """A video whose frame i is gray of brightness 8 i."""
    frames = np.broadcast_to(np.arange(30, dtype=np.uint8)[:, None, None, None] * 8, (30, 48, 64, 3)).copy()
    encode(tmp_path / "ramp.mp4", frames, fps=10)
    return tmp_path / "ramp.mp4"


def all_decoded(path):
    """Every frame by one sequential decode of FFmpeg's best stream, upright."""
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.best("video"))
        return [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in frames]


def twelve(video):
    return even_frames(video.total, video.fps, 12)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_all_decoders_give_the_frames_of_a_full_decode(synthetic, name):
    expected = all_decoded(synthetic / name)
    wanted = [17, 3, 29, 8, 3, 9, 16, 23, 24]
    for decoder in DECODERS:
        video = decoder(synthetic / name)
        assert video.total == len(expected) == 30
        assert video.fps == 10
        np.testing.assert_allclose(np.diff(video.times), 0.1, atol=1e-3)  # some containers count milliseconds
        frames = video.read(wanted).permute(0, 2, 3, 1).numpy()
        for frame, number in zip(frames, wanted, strict=True):
            assert np.abs(frame.astype(int) - expected[number]).max() <= 2  # conversions from YUV differ by rounding


@pytest.mark.parametrize("short_side", [None, 36, 48])
@pytest.mark.parametrize("name", SYNTHETIC)
def test_all_decoders_agree_at_any_size(synthetic, name, short_side):
    videos = [decoder(synthetic / name, short_side) for decoder in DECODERS]
    clips = [video.read(twelve(video)) for video in videos]
    assert clips[0].shape == clips[1].shape
    assert (clips[0].int() - clips[1].int()).abs().max() <= 2
    height, width = read_index(synthetic / name).size(None)
    scale = 1 if short_side is None else min(1, short_side / min(height, width))
    assert clips[0].shape == (12, 3, round(height * scale), round(width * scale))


@pytest.mark.slow
@needs_clips
@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.name)
def test_all_decoders_agree_on_the_real_clips(path):
    for short_side in (None, 96):
        videos = [decoder(path, short_side) for decoder in DECODERS]
        one, two = (video.read(twelve(video)[::3]).int() for video in videos)
        assert one.shape == two.shape
        assert (one - two).abs().max() <= 2


@pytest.mark.skipif(not find_spec("torchcodec"), reason="torchcodec is not installed")
@pytest.mark.parametrize("name", SYNTHETIC)
def test_torchcodec_agrees_too(synthetic, name):
    for short_side in (None, 36):
        videos = [decoder(synthetic / name, short_side) for decoder in (find_torchcodec(), open_pyav)]
        one, two = (video.read(twelve(video)).int() for video in videos)
        assert (one - two).abs().max() <= 2


def test_without_torchcodec_its_choice_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(UserError, match=r"data/decoder=torchcodec needs the package torchcodec and FFmpeg's"):
        find_torchcodec()


UNSAFE = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 36, 48, 72, 96, 144]


def test_the_rule_names_every_width_whose_padding_looks_like_channels():
    """16, 32 and 64 pixels: of SSE, AVX2 (measured: 1 to 24, 48, 72) and AVX-512 (1 to 48 but 36, 96, 144)."""
    assert [width for width in range(1, 4097) if is_mistaken(width)] == UNSAFE
    assert not any(map(is_mistaken, (64, 100, 112, 128, 160, 176, 180, 192, 224, 240, 256, 320, 340, 360, 640, 1920)))


@pytest.mark.parametrize(
    ("name", "short_side", "kind"),
    [
        ("b_frames.mp4", None, DecordFile),
        ("b_frames.mp4", 36, DecordFile),  # 50 pixels wide
        ("upright_144p.mp4", None, PyAVFile),
        ("upright_144p.mp4", 100, DecordFile),
        ("upright_144p.mp4", 96, PyAVFile),
        ("narrow.mp4", None, PyAVFile),
        ("rotated_upright.mp4", None, PyAVFile),  # 72 pixels wide once upright
        ("b_frames.avi", None, PyAVFile),
        ("b_frames.ts", None, PyAVFile),
        ("open_gop.mp4", None, PyAVFile),
    ],
)
def test_what_decord_cannot_serve_is_read_by_pyav(synthetic, name, short_side, kind):
    assert type(open_decord(synthetic / name, short_side)) is kind
    index = read_index(synthetic / name)
    assert serves(index, index.size(short_side)[1]) == (kind is DecordFile)


@needs_clips
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_clips_table_holds(decoder):
    formats = CLIPS / "formats"
    assert decoder(formats / "av1_video.mkv").total >= 10
    assert decoder(formats / "unordered.mov").read(range(4)).unique().tolist() == [255]
    assert decoder(formats / "unordered.mov", 96).read([0]).shape == (1, 3, 50, 50)
    assert decoder(formats / "video_0.mov").read([0, 2, 2]).shape == (3, 3, 320, 568)
    assert decoder(formats / "video_90.mov").read([0]).shape == (1, 3, 568, 320)
    assert decoder(formats / "video_90.mov", 160).read([0]).shape == (1, 3, 284, 160)
    assert decoder(CLIPS / "videos" / "telescope.mp4").read([0]).shape == (1, 3, 270, 480)
    with pytest.raises(VideoError, match=r"corrupted\.mp4: damaged"):
        decoder(formats / "corrupted.mp4").read(range(50))


@pytest.mark.parametrize("decoder", DECODERS)
def test_frames_come_in_the_order_asked_for(ramp, decoder):
    frames = decoder(ramp).read([20, 3, 3, 29])
    assert frames.shape == (4, 3, 48, 64)
    assert frames.dtype == torch.uint8
    brightness = frames.float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(brightness, torch.tensor([160.0, 24.0, 24.0, 232.0]), atol=3, rtol=0)
    assert decoder(ramp, 24).read([0]).shape == (1, 3, 24, 32)
    assert decoder(ramp, 100).read([0]).shape == (1, 3, 48, 64)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_best_of_several_streams_is_read(tmp_path, decoder):
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
    assert decoder(path).read(range(5)).shape == (5, 3, 96, 128)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_broken_file_is_named_with_its_cause(tmp_path, ramp, decoder):
    whole = ramp.read_bytes()
    contents = {"empty": b"", "text": b"no video at all\n" * 99, "truncated": whole[: len(whole) // 2]}
    for name, content in contents.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
        with pytest.raises(VideoError, match=rf"{name}\.mp4: (the file is empty|not a readable video)"):
            decoder(tmp_path / f"{name}.mp4")
    damaged = whole[: len(whole) // 2] + bytes(len(whole) // 4) + whole[-(len(whole) // 4) :]
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    with pytest.raises(VideoError, match=r"damaged\.mp4"):
        decoder(tmp_path / "damaged.mp4").read(range(30))
    with pytest.raises(VideoError, match=r"absent\.mp4: no such file"):
        decoder(tmp_path / "absent.mp4")


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_file_that_is_cut_after_its_index_is_damaged(tmp_path, ramp, decoder):
    fast = tmp_path / "fast.mp4"
    with av.open(str(ramp)) as source, av.open(str(fast), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole = fast.read_bytes()
    assert decoder(fast).total == 30
    fast.write_bytes(whole[: -len(whole) // 4])
    with pytest.raises(VideoError, match=r"fast\.mp4: damaged"):
        decoder(fast).read(range(30))


def read_part(path, start, end=None, sampler=even_frames):
    return FrameReader(2, sampler, resize_and_crop(48), open_decord)(Record("a", path, ("a cat",), start, end))


def test_start_and_end_are_seconds(ramp):
    brightness = read_part(ramp, 1.0, 2.0).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(brightness, torch.tensor([80.0, 152.0]), atol=3, rtol=0)
    with pytest.raises(VideoError, match=r"ramp\.mp4: the part starts at 9.0 s, but the video ends at 3.00 s"):
        read_part(ramp, 9.0)
