"""Decoders that hang or crash are killed with their file named, and the run goes on."""

import ctypes
import os
import pickle
import time

import numpy as np
import pytest

from retrieval.data.corpora.base import Record
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.decoder import Guarded, StuckError, VideoError, open_decord
from retrieval.data.notes import Remembering
from retrieval.data.sampling import even_frames
from retrieval.data.store.database import environment
from retrieval.data.store.frames import FrameStore
from retrieval.data.store.preparation import prepare
from tests.data.recorder import Recorder, trainer


def hanging(path, short_side=None, check="header"):
    """A decoder that hangs in C on the first and sixth video, where neither exceptions nor signal handlers get in."""
    if path.name in ("0.mp4", "5.mp4"):
        ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock, too
    return open_decord(path, short_side, check)


def sleeping(path, short_side=None, check="header"):
    """A decoder that opens everything, and never ends reading the first and sixth video."""
    video = open_decord(path, short_side, check)
    if path.name in ("0.mp4", "5.mp4"):
        video.read = lambda indices: time.sleep(600)
    return video


def crashing(path, short_side=None, check="header"):
    """A decoder that ends its process."""
    if path.name == "0.mp4":
        os.abort()
    return open_decord(path, short_side, check)


@pytest.fixture
def ramps(tmp_path):
    """Eight sound videos."""
    frames = np.arange(8, dtype=np.uint8)[:, None, None, None] * 20 + np.zeros((1, 48, 64, 3), np.uint8)
    for number in range(8):
        encode(tmp_path / f"{number}.mp4", frames, fps=8)
    return [Record(f"{number}", tmp_path / f"{number}.mp4", ("a cat",)) for number in range(8)]


@pytest.mark.parametrize("decoder", [hanging, sleeping])
def test_a_decoder_that_hangs_is_killed_and_the_next_video_read(ramps, decoder, monkeypatch):
    guard = Guarded(decoder, 0.5)
    with pytest.raises(StuckError, match=r"0\.mp4: given up, not read within 0\.5 seconds \(data\.deadline\)"):
        guard(ramps[0].path).read([0])
    video, plain = guard(ramps[1].path), open_decord(ramps[1].path)
    for indices in ([0, 3, 3], [7]):
        assert video.read(indices).equal(plain.read(indices))
    with monkeypatch.context() as patched:
        patched.setattr("retrieval.data.decoder.guarded.SHARED", 0x1000)  # frames that no longer fit
        small = Guarded(decoder, 30.0)(ramps[1].path)
        assert small.read([0, 3]).equal(plain.read([0, 3]))
    assert (video.total, video.times, video.size) == (plain.total, plain.times, plain.size)
    assert video.examine() is None
    with pytest.raises(VideoError, match="cannot be decoded"):
        video.read([99])
    assert pickle.loads(pickle.dumps(guard)).child is None  # each process forks its own


def test_a_decoder_that_crashes_is_an_error_of_the_video(ramps):
    guard = Guarded(crashing, 30.0)
    with pytest.raises(StuckError, match=r"0\.mp4: the decoder crashed on it \(signal 6\)"):
        guard(ramps[0].path)
    assert guard(ramps[1].path).total == 8


def test_an_answer_to_an_interrupted_call_is_not_taken_for_another(ramps, monkeypatch):
    guard = Guarded(open_decord, 30.0)
    guard(ramps[0].path)
    with monkeypatch.context() as patched:
        patched.setattr("retrieval.data.decoder.guarded._received", interrupted)
        with pytest.raises(KeyboardInterrupt):
            guard.ask("read", ramps[0].path, [0, 0])
    assert guard(ramps[1].path).read([7]).equal(open_decord(ramps[1].path).read([7]))


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_goes_on_past_decoders_that_hang_and_lists_the_files(broken, ramps, tmp_path, num_workers):
    module = broken(decoder=sleeping, deadline=1.0, num_workers=num_workers)
    for record in ramps:
        encode(record.path, np.full((8, 32, 32, 3), 20 * int(record.video_id), np.uint8), fps=8)
    began = time.monotonic()
    with pytest.warns(UserWarning, match=r"2 videos could not be read:(.|\n)*0\.mp4: given up(.|\n)*5\.mp4: given up"):
        trainer(tmp_path, max_epochs=2, enable_checkpointing=False, limit_val_batches=0).fit(Recorder(), module)
    assert time.monotonic() - began < 60  # two times one second, in the first epoch alone
    assert len(module.skipped) == 2


def test_prepare_lists_what_hangs_and_what_is_damaged(ramps, concealed, tmp_path):
    store = FrameStore(tmp_path / "frames", tmp_path, short_side=None, quality=95, rate=2.0)
    records = [*ramps[:2], Record("concealed", concealed, ("a cat",))]
    for _ in range(2):  # the second time as it was stored
        findings = prepare(records, store, hanging, even_frames, 4, 0, deadline=1.0)
        assert [message.partition(": ")[0] for message in findings.unreadable] == [str(ramps[0].path)]
        assert findings.stored == 2
        assert list(findings.damaged) == [str(concealed)]
        assert 0 < findings.damaged[str(concealed)].share < 0.5
    assert store.open(concealed).examine() == findings.damaged[str(concealed)]
    environment.cache_clear()
    strict = FrameStore(tmp_path / "strict", tmp_path, short_side=None, quality=95, rate=2.0)
    findings = prepare(records[1:], strict, open_decord, even_frames, 4, 0, check="full")
    assert findings.stored == 1
    assert "concealed.mp4: damaged" in findings.unreadable[0]
    assert findings.unreadable[0].endswith("; data.check=header stores it all the same")
    findings = prepare(records[1:], strict, open_decord, even_frames, 4, 0, check="header")
    assert (findings.stored, findings.decoded) == (2, 1)
    findings = prepare(records[1:], strict, open_decord, even_frames, 4, 0, check="full")
    assert (findings.stored, findings.decoded) == (1, 1)  # what was stored as damaged is refused now
    environment.cache_clear()


def test_what_nobody_has_examined_does_not_pass_as_sound(ramps, concealed, tmp_path):
    store = FrameStore(tmp_path / "frames", tmp_path, short_side=None, quality=95, rate=2.0)
    records = [ramps[1], Record("concealed", concealed, ("a cat",))]
    assert prepare(records, store, open_decord, even_frames, 4, 0, check="none").stored == 2
    with pytest.raises(VideoError, match=r"1\.mp4: stored with data\.check=none; run python -m retrieval\.prepare"):
        Remembering(store.open, "full")(ramps[1].path)
    environment.cache_clear()
    assert prepare(records, store, open_decord, even_frames, 4, 0, check="full").decoded == 2
    assert Remembering(store.open, "full")(ramps[1].path).total == 8
    environment.cache_clear()
