"""Damaged files, things that are no videos, decoders that hang, and what a run remembers of them."""

import os
import socket
import tempfile
import warnings
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from retrieval.data.corpora.base import Record
from retrieval.data.dataset import FrameReader
from retrieval.data.decoder import VideoError, open_decord, open_pyav
from retrieval.data.decoder.index import read_index
from retrieval.data.notes import Notes, Remembering
from retrieval.data.sampling import even_frames
from retrieval.data.transforms import resize_and_crop
from retrieval.errors import UserError
from tests.data.recorder import Recorder, trainer
from tests.data.test_decoder import moving, write

DECODERS = [open_decord, open_pyav]


def test_a_whole_video_shows_no_damage(whole):
    for decoder in DECODERS:
        assert decoder(whole).examine() is None


def test_concealed_errors_are_told_with_share_and_place(concealed):
    damage = open_decord(concealed).examine()
    assert any("conceal" in reason for reason in damage.reasons)
    (start, end), *more = damage.seconds
    assert not more
    assert start == pytest.approx(1.7, abs=0.11)
    assert end == pytest.approx(2.4)  # the key frame after it
    assert damage.share == pytest.approx((end - start) * 10 / 30, abs=0.05)
    assert "1.7" in str(damage)


@pytest.mark.parametrize(("check", "is_read"), [("full", False), ("header", True), ("none", True)])
def test_full_refuses_what_header_reads(concealed, check, is_read):
    read = Remembering(partial(open_decord, check=check), check)
    if is_read:
        assert len(read(concealed).read([0, 1])) == 2  # far from the damage
    else:
        with pytest.raises(
            VideoError, match=r"concealed\.mp4: damaged, .*conceal.*data\.check=none reads what is there$"
        ):
            read(concealed)


def test_full_decodes_each_file_once(whole, monkeypatch):
    examined = []
    monkeypatch.setattr("retrieval.data.decoder.coded.examine", lambda index: examined.append(index.path))
    read = Remembering(open_decord, "full")
    for _ in range(3):
        read(whole).read([0])
    assert examined == [whole]


@pytest.mark.parametrize("name", ["cut.mkv", "cut.avi", "cut.webm"])
def test_the_header_tells_of_a_cut(tmp_path, name):
    path = tmp_path / name
    codec = {".mkv": "libx264", ".avi": "mpeg4", ".webm": "libvpx-vp9"}[path.suffix]
    write(path, moving(72, 100), codec=codec)
    data = path.read_bytes()
    for share, checks in ((0.7, ("header", "full")), (1.0, ())):
        path.write_bytes(data[: int(len(data) * share)])
        for check in checks:
            with pytest.raises(
                VideoError, match=r"(cut short, it ends|damaged, ).*; data\.check=none reads what is there"
            ):
                open_pyav(path, check=check)
        total = open_pyav(path, check="none").total
        assert total == 30 if share == 1 else 0 < total < 30


def test_times_cut_parts_out_of_a_file_of_variable_rate(tmp_path):
    """20 frames in 2 seconds, then one a second: number and moment of a frame do not go together."""
    path, moments = tmp_path / "variable.mkv", [*range(0, 2000, 100), *range(2000, 12000, 1000)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt, stream.options = 64, 48, "yuv420p", {"threads": "1", "bf": "0"}
        for number, moment in enumerate(moments):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for decoder in DECODERS:
        assert list(decoder(path).times) == pytest.approx([moment / 1000 for moment in moments])
        read = FrameReader(4, even_frames, resize_and_crop(48), decoder)
        for start, expected in ((6.0, [24, 25, 26, 27]), (None, [0, 21, 25, 29])):
            frames = read(Record("a", path, ("a cat",), start, 10.0 if start else None))
            assert (frames.float().mean((1, 2, 3)) / 8).round().tolist() == expected


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_no_video_has_its_own_words(tmp_path, decoder):
    things = {name: tmp_path / name for name in ("folder", "pipe", "socket", "picture.png", "sound.mp4", "empty.mp4")}
    things["folder"].mkdir()
    os.mkfifo(things["pipe"])
    with socket.socket(socket.AF_UNIX) as server, as_cwd(tmp_path):
        server.bind("socket")
    av.VideoFrame.from_ndarray(np.zeros((8, 8, 3), np.uint8), format="rgb24").to_image().save(things["picture.png"])
    with av.open(str(things["sound.mp4"]), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    things["empty.mp4"].touch()
    words = ["not a video file, but a folder", r"but a pipe \(FIFO\)", "but a socket", "not a video, but a picture"]
    words += ["not a video, but sound alone", "the file is empty", "not a video file, but a device", "no such file"]
    for path, kind in zip([*things.values(), Path("/dev/zero"), tmp_path / "absent"], words, strict=True):
        with pytest.raises(VideoError, match=rf"^{path}: .*{kind}$"):
            decoder(path)


def test_a_file_without_permission_says_so(whole, monkeypatch):
    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)  # as root one may read anything
    with pytest.raises(VideoError, match=r"whole\.mp4: no permission to read it$"):
        open_decord(whole)


@contextmanager
def as_cwd(folder):
    before = Path.cwd()
    os.chdir(folder)  # a socket's path has 107 bytes
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_repeated_frame_is_decoded_and_transformed_once(whole, decoder, monkeypatch):
    asked, seen = [], []
    repeated = [4, 2, 2, 4, 9]
    video = decoder(whole)
    monkeypatch.setattr(
        video, "_decode", lambda distinct, decode=video._decode: asked.append(distinct) or decode(distinct)
    )
    assert video.read(repeated).equal(decoder(whole).read([2, 4, 9])[[1, 0, 0, 1, 2]])
    assert asked == [[2, 4, 9]]

    def sampler(*_):
        return repeated

    read = FrameReader(5, sampler, lambda frames: seen.append(len(frames)) or frames[..., :64, :64], decoder)
    frames = read(Record("a", whole, ("a cat",)))
    assert seen == [3]
    monkeypatch.setattr("retrieval.data.dataset.AT_ONCE", 72 * 100 * 3)  # as an 8K video: one frame at a time
    assert read(Record("a", whole, ("a cat",))).equal(frames)
    assert seen == [3, 1, 1, 1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_file_is_opened_once_a_run(broken, tmp_path, num_workers):
    trace = tmp_path / "trace"

    def opened(path, **knobs):
        with trace.open("a") as file:
            file.write(f"{path.name}\n")
        return open_decord(path, **knobs)

    module = broken(decoder=opened, num_workers=num_workers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Recorder()
        trainer(tmp_path, max_epochs=3, enable_checkpointing=False).fit(model, module)
        trainer(tmp_path).test(model, module)
    names = trace.read_text().split()
    assert (names.count("0.mp4"), names.count("5.mp4")) == (1, 1)
    assert names.count("1.mp4") > 3
    assert len(module.skipped) == 2
    _, frames = zip(*((words, frames) for frames, words in model.seen), strict=True)
    plain = Recorder()
    other = broken(num_workers=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(tmp_path, max_epochs=3, enable_checkpointing=False, limit_val_batches=0).fit(plain, other)
    assert all(one.equal(two) for one, (two, _) in zip(frames, plain.seen, strict=True))


def test_frames_that_cannot_be_decoded_are_remembered_and_others_still_read(whole):
    calls = []

    class Half(type(open_pyav(whole))):
        def _decode(self, distinct):
            calls.append(distinct)
            if 20 in distinct:
                raise VideoError("frame 20 is broken")
            return super()._decode(distinct)

    opened = []
    read = Remembering(lambda path: opened.append(path) or Half(read_index(path), (72, 100)), "header")
    for _ in range(3):
        with pytest.raises(VideoError, match="frame 20"):
            read(whole).read([1, 20])
    assert (len(opened), calls) == (1, [[1, 20]])
    assert len(read(whole).read([1, 2])) == 2
    assert len(opened) == 2


def test_notes_reach_every_process_and_leave_nothing():
    notes = Notes()
    path = notes.path
    child = os.fork()
    if child == 0:
        notes["broken", "a.mp4"] = "why"
        os._exit(0)
    os.waitpid(child, 0)
    assert notes.get("broken", "a.mp4") == "why"
    assert notes.get("broken", "b.mp4") is None
    del notes
    assert not path.exists()


def test_notes_that_cannot_be_written_or_were_cut_off_end_nothing(monkeypatch):
    notes = Notes()
    with notes.path.open("ab") as file:
        file.write(b'[["broken", "a.m')  # by another process, on a full disk
    notes["broken", "b.mp4"] = "why"
    notes["broken", "c.mp4"] = "because"
    assert [notes.get("broken", name) for name in ("a.mp4", "b.mp4", "c.mp4")] == [None, "why", "because"]
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    alone = Notes()
    alone["broken", "a.mp4"] = "why"
    assert alone.get("broken", "a.mp4") == "why"


@pytest.mark.parametrize("knobs", [{"check": "half"}, {"deadline": 0.0}])
def test_impossible_checks_are_named(broken, knobs):
    with pytest.raises(UserError, match=f"data.{next(iter(knobs))}="):
        broken(**knobs)


def test_decoders_are_silent(concealed, capfd, tmp_path):
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(concealed.read_bytes()[:-500])
    for decoder in DECODERS:
        video = decoder(concealed, check="none")
        video.examine()
        video.read(range(30))
        with pytest.raises(VideoError):
            decoder(torn)
    assert capfd.readouterr() == ("", "")
