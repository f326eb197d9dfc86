"""A damaged store ends nothing and gives no other pictures: it says what to do, and `prepare` mends it."""

import json
import os
import random
import signal
from fractions import Fraction

import av
import lmdb
import numpy as np
import pytest

from retrieval.data.corpora.base import Record
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.decoder import VideoError, open_pyav
from retrieval.data.sampling import even_frames
from retrieval.data.store import FrameStore, preparation, repair
from retrieval.data.store.database import environment
from retrieval.data.store.preparation import prepare
from retrieval.errors import UserError

FRAMES = range(0, 12, 3)


@pytest.fixture
def videos(tmp_path):
    """Three noisy videos of 12 frames."""
    pixels = np.random.default_rng(0).integers(0, 255, (3, 12, 48, 64, 3), np.uint8)
    paths = [tmp_path / f"{number}.mp4" for number in range(3)]
    for path, frames in zip(paths, pixels, strict=True):
        encode(path, frames, fps=4)
    return [Record(path.name, path, ("noise",)) for path in paths]


@pytest.fixture
def store(tmp_path, videos):
    """A store of them."""
    kept = FrameStore(tmp_path / "frames", tmp_path, short_side=None, quality=95, rate=None)
    store_all(kept, videos)
    yield kept
    environment.cache_clear()


def store_all(kept, records):
    environment.cache_clear()
    return prepare(records, kept, open_pyav, even_frames, 4, 0)


def read(kept, records):
    environment.cache_clear()
    return [kept.open(record.path).read(FRAMES) for record in records]


def data(kept):
    return kept.manifest.with_name("data.mdb")


def test_a_store_that_was_cut_is_refused_before_it_is_mapped_and_mended(store, videos):
    whole = read(store, videos)
    content = data(store).read_bytes()
    for length in (0, 100, 5000, len(content) // 2, len(content) - 1):
        data(store).write_bytes(content[:length])
        environment.cache_clear()
        with pytest.raises(UserError, match=rf"data\.store\.folder={store.folder} is damaged: .*retrieval\.prepare"):
            store.check(videos, "test")
        findings = store_all(store, videos)
        assert findings.stored == len(videos)
        assert "is damaged" in findings.repaired[0]
        assert all(map(np.array_equal, read(store, videos), whole))


def test_flipped_bytes_are_refused_with_video_and_store_and_only_their_video_is_stored_again(store, videos):
    whole, content, luck = read(store, videos), data(store).read_bytes(), random.Random(0)
    jpeg = content.index(b"\xff\xd8\xff", content.index(b"frame\x001.mp4"))
    for place in (jpeg, *(jpeg + luck.randrange(500) for _ in range(10))):
        flipped = bytearray(content)
        flipped[place] ^= 1 << luck.randrange(8)
        data(store).write_bytes(flipped)
        environment.cache_clear()
        outcomes = [outcome(store, record) for record in videos]
        broken = [number for number, frames in enumerate(outcomes) if isinstance(frames, str)]
        assert len(broken) == 1
        message = outcomes[broken[0]]
        assert message.startswith(f"{videos[broken[0]].path}: damaged in the store {store.folder} (a checksum")
        assert message.endswith("run python -m retrieval.prepare, which stores it again")
    findings = store_all(store, videos)
    assert (findings.decoded, findings.stored, len(findings.repaired)) == (1, 3, 1)
    assert all(map(np.array_equal, read(store, videos), whole))


@pytest.mark.parametrize("end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0])
def test_a_check_that_does_not_come_to_its_end_says_nothing_of_the_store(store, videos, monkeypatch, end):
    content = data(store).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(repair, "_examined", lambda *_: end())
        with pytest.raises(RuntimeError, match=f"the process that checks {store.folder} ended with"):
            store_all(store, videos)
    assert data(store).read_bytes() == content
    assert store_all(store, videos).decoded == 0


def test_a_damaged_store_is_no_full_disk(store, videos, monkeypatch):
    def put(*_):
        raise lmdb.CorruptedError("MDB_CORRUPTED")

    monkeypatch.setattr(preparation, "put_entry", put)
    os.utime(videos[0].path, ns=(0, 0))
    with pytest.raises(UserError, match=rf"data\.store\.folder={store.folder} is damaged \(MDB_CORRUPTED\): delete it"):
        store_all(store, videos)


def outcome(kept, record):
    try:
        return kept.open(record.path).read(range(12))
    except VideoError as error:
        return str(error)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("", r"manifest\.json cannot be read .*: delete data\.store\.folder=\S+, or give another, and run python"),
        ('{"settings": 5}', r"manifest\.json cannot be read"),
        ("[]", r"manifest\.json cannot be read"),
        (None, r"manifest\.json is missing: delete"),
        ("old", "was written before frames had checksums: delete"),
    ],
)
def test_a_damaged_missing_or_old_manifest_is_told_by_readers_and_by_prepare(store, videos, manifest, message):
    if manifest is None:
        store.manifest.unlink()
    elif manifest == "old":
        store.manifest.write_text(json.dumps({"settings": store.settings}))
    else:
        store.manifest.write_text(manifest)
    with pytest.raises(UserError, match=message):
        store.verify()
    with pytest.raises(UserError, match=message):
        store_all(store, videos)


def test_a_folder_that_cannot_be_written_is_named_and_can_be_read_without_a_lock(store, videos):
    store.manifest.with_name("lock.mdb").unlink()
    store.manifest.with_name("lock.mdb").mkdir()  # as on a read-only disk: no lock file can be made
    with pytest.raises(UserError, match=rf"data\.store\.folder={store.folder} cannot be written: "):
        store_all(store, videos)
    assert len(read(store, videos)) == 3
    nowhere = FrameStore(videos[0].path / "frames", videos[0].path.parent, None, 95, None)
    with pytest.raises(UserError, match=r"data\.store\.folder=\S+frames cannot be made: "):
        store_all(nowhere, videos)


def test_a_store_knows_the_times_of_a_variable_rate_and_gives_the_frames_of_the_file(tmp_path):
    """The first 20 frames are shown within a second, the next 10 within ten."""
    path = tmp_path / "variable.mp4"
    milliseconds = [50 * number for number in range(20)] + [1000 + 1000 * number for number in range(10)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.time_base = 64, 48, Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(milliseconds):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    record = Record(path.name, path, ("a cat",), start=2.0, end=8.0)
    kept = FrameStore(tmp_path / "frames", tmp_path, short_side=None, quality=95, rate=1.0)
    store_all(kept, [record])
    file, stored = open_pyav(path), kept.open(path)
    assert stored.times == pytest.approx(file.times)
    assert len(stored.times) == stored.total == 30
    asked = [even_frames(x.total, x.fps, 4, record.start, record.end, None, x.times) for x in (file, stored)]
    assert asked[0] == asked[1]
    assert [round(file.times[index]) for index in asked[0]] == sorted({round(file.times[i]) for i in asked[0]})
    difference = (file.read(asked[0]).float() - stored.read(asked[1]).float()).abs().max()
    assert difference < 4
    far = stored.read([29])  # the last is not stored: the nearest in time stands in
    assert abs(far.float().mean() - 8 * 29) < 20
    environment.cache_clear()
