"""Stored frames: the same pictures of the same moments, refused where they are not, and whole after any kill."""

import csv
import json
import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional as F

from retrieval.data import RetrievalDataModule
from retrieval.data.corpora import Folder
from retrieval.data.corpora.base import Record
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.dataset import FrameReader
from retrieval.data.decoder import VideoError, open_decord
from retrieval.data.sampling import even_frames, segment_frames
from retrieval.data.store.database import environment
from retrieval.data.store.frames import FrameStore, nearest
from retrieval.data.store.preparation import grid, prepare
from retrieval.data.transforms import resize_and_crop
from retrieval.errors import UserError
from tests.data.conftest import KNOBS, tokenizer

CLIPS = Path(__file__).parents[3] / "shared" / "clips"
real = pytest.mark.skipif(not CLIPS.is_dir(), reason="no ../shared/clips")
WORKERS = 2


@pytest.fixture
def videos(tmp_path):
    """Six videos of 24 frames, each frame of its own brightness; records of them."""
    frames = np.arange(24, dtype=np.uint8)[:, None, None, None] * 10 + np.zeros((1, 48, 64, 3), np.uint8)
    paths = [tmp_path / "videos" / f"{number}.mp4" for number in range(6)]
    paths[0].parent.mkdir()
    for path in paths:
        encode(path, frames, fps=8)
    return [Record(path.name, path, ("a cat",)) for path in paths]


@pytest.fixture
def store(tmp_path):
    """A function from changed settings to a store in the test's folder."""

    def build(**settings):
        return FrameStore(tmp_path / "frames", tmp_path, **{"short_side": 32, "quality": 95, "rate": 2.0} | settings)

    yield build
    environment.cache_clear()


def brightness(frames: torch.Tensor) -> list[int]:
    """Which frame of the ramp each is."""
    return (frames.float().mean(dim=(1, 2, 3)) / 10).round().int().tolist()


def test_evaluation_reads_the_very_moments_and_training_the_nearest(videos, store):
    findings = prepare(videos, store(), open_decord, even_frames, 5, 0)
    assert (findings.stored, findings.decoded, findings.missing, findings.unreadable, findings.short) == (
        6,
        6,
        [],
        [],
        [],
    )
    path = videos[0].path
    assert brightness(store().open(path).read(even_frames(24, 8.0, 5))) == even_frames(24, 8.0, 5)
    assert brightness(store().open(path).read(range(24)))[::4] == list(range(0, 24, 4))
    for seed in range(20):
        picked = segment_frames(24, 8.0, 12, generator=torch.Generator().manual_seed(seed))
        read = brightness(store().open(path).read(picked))
        assert all(abs(ours - wanted) <= 2 for ours, wanted in zip(read[:-2], picked[:-2], strict=True))


def test_every_frame_may_be_stored(videos, store):
    prepare(videos[:1], store(rate=None), open_decord, even_frames, 5, 0)
    assert brightness(store(rate=None).open(videos[0].path).read(range(24))) == list(range(24))


def test_the_grid_and_the_nearest_frame():
    assert grid(10, 30.0, 10.0) == [0, 3, 6, 9]
    assert grid(5, 2.0, None) == grid(5, 2.0, 4.0) == [0, 1, 2, 3, 4]
    assert [nearest([0, 4, 8], index) for index in (0, 2, 3, 7, 11)] == [0, 0, 4, 8, 8]


def psnr(one: torch.Tensor, two: torch.Tensor) -> float:
    return 10 * torch.log10(255**2 / (one.double() - two.double()).square().mean()).item()


@pytest.mark.slow
@real
@torch.no_grad()
def test_stored_frames_of_the_real_clips_are_those_decoded(store):
    records = Folder(CLIPS / "videos", CLIPS / "captions.csv").records("test")
    kept = store(short_side=224, rate=0.5)
    assert prepare(records, kept, open_decord, even_frames, 6, 0).stored == 12
    clip = open_clip.create_model("ViT-B-32").eval()
    for record in records:
        clips = []
        for video in (kept.open(record.path), open_decord(record.path, 224)):
            frames = video.read(even_frames(video.total, video.fps, 6, times=video.times))
            clips.append((frames, clip.encode_image(resize_and_crop(224)(frames).float() / 127.5 - 1).mean(0)))
        (stored, ours), (decoded, theirs) = clips
        assert min(map(psnr, stored, decoded)) >= 40, record.path
        assert F.cosine_similarity(ours, theirs, dim=0) >= 0.999, record.path


def test_other_settings_are_refused_with_both(videos, store):
    prepare(videos, store(), open_decord, even_frames, 5, 0)
    message = r"was written with short_side=32, quality=95, rate=2.0, this run has short_side=32, quality=90, rate=null"
    with pytest.raises(ValueError, match=message):
        prepare(videos, store(quality=90, rate=None), open_decord, even_frames, 5, 0)
    with pytest.raises(ValueError, match=message):
        store(quality=90, rate=None).verify()
    with pytest.raises(ValueError, match="no stored frames there; run python -m"):
        FrameStore("nowhere", "nowhere", None, 95, None).verify()


@pytest.mark.parametrize("settings", [{"quality": 0}, {"quality": 101}, {"rate": 0.0}, {"short_side": 0}])
def test_impossible_settings_are_named(store, settings):
    with pytest.raises(ValueError, match=rf"data\.store\.{next(iter(settings))}="):
        store(**settings)


def test_a_changed_video_is_refused_and_stored_anew_a_deleted_one_is_not_missed(videos, store):
    prepare(videos, store(), open_decord, even_frames, 5, 0)
    changed, deleted = videos[1].path, videos[2].path
    changed.write_bytes(videos[0].path.read_bytes())
    os.utime(changed, ns=(0, 0))
    deleted.unlink()
    with pytest.raises(VideoError, match=r"1\.mp4: changed since it was stored"):
        store().open(changed).read([0])
    assert len(store().open(deleted).read([0, 8])) == 2
    environment.cache_clear()
    findings = prepare(videos, store(), open_decord, even_frames, 5, 0)
    assert findings.decoded == 1
    assert findings.missing == [f"{deleted}: no such file"]
    assert len(store().open(changed).read([0])) == 1
    with pytest.raises(VideoError, match="not in the store"):
        store().open(changed.with_name("new.mp4"))


def test_bad_videos_are_reported_and_tried_again(videos, store):
    videos[0].path.write_bytes(b"no video")
    videos[1].path.unlink()
    late = Record("late", videos[2].path, ("a dog",), start=2.0, end=9.0)
    cut = Record("cut", videos[3].path, ("a dog",), duration=82.73)
    findings = prepare([*videos, late, cut], store(), open_decord, even_frames, 5, WORKERS)
    assert findings.stored == 4
    assert len(findings.unreadable) == len(findings.missing) == 1
    assert "0.mp4: not a readable video" in findings.unreadable[0]
    assert findings.short == [f"{late.path}: 3.00 s, not 9.00 s", f"{cut.path}: 3.00 s, not 82.73 s"]
    again = prepare([*videos, late], store(), open_decord, even_frames, 5, 0)
    assert (again.stored, again.decoded, again.unreadable) == (4, 1, findings.unreadable)


def test_a_run_reads_from_the_store_what_it_reads_from_the_videos(videos, store):
    root = videos[0].path.parents[1]
    with (root / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("video", "caption"), *((f"videos/{record.video_id}", "a cat") for record in videos)]
        )
    kept = store(rate=None)
    prepare(videos, kept, open_decord, segment_frames, KNOBS["frames"], 0)

    def batch(**knobs):
        data = RetrievalDataModule(
            corpus=Folder, tokenizer=tokenizer, root=root, captions="captions.csv", **KNOBS | {"store": kept} | knobs
        )
        data.setup("test")
        return next(iter(data.test_dataloader()[0])).frames

    from_store = batch(frames_from="store", num_workers=1)
    assert psnr(from_store, batch()) > 40
    assert from_store.equal(batch(frames_from="store"))
    with pytest.raises(ValueError, match="was written with"):
        batch(frames_from="store", store=store(quality=1))
    encode(root / "videos" / "7.mp4", np.zeros((4, 32, 32, 3), np.uint8), fps=8)
    with (root / "captions.csv").open("a") as file:
        file.write("videos/7.mp4,a dog\n")
    with pytest.raises(ValueError, match=r"lacks 1 videos of the split 'test', the first: \S+7\.mp4; run python"):
        batch(frames_from="store")


class Traced:
    """The even sampler, noting each video that is decoded in a file."""

    def __init__(self, trace: Path, pause: float) -> None:
        self.trace, self.pause = trace, pause

    def __call__(self, total, fps, count, start=None, end=None, generator=None, times=None):
        with self.trace.open("a") as file:
            file.write(".")
        time.sleep(self.pause)
        return even_frames(total, fps, count)


@pytest.mark.slow
def test_ten_kills_lose_no_more_than_was_in_flight(videos, store, tmp_path):
    many = []
    for number in range(90):
        path = tmp_path / f"{number}.mp4"
        path.hardlink_to(videos[0].path)
        many.append(Record(path.name, path, ("a cat",)))
    trace, fork, luck = tmp_path / "trace", multiprocessing.get_context("fork"), random.Random()
    trace.touch()  # a busy machine may decode nothing before a kill
    for _ in range(10):
        process = fork.Process(target=prepare, args=(many, store(), open_decord, Traced(trace, 0.02), 3, WORKERS))
        process.start()
        time.sleep(luck.uniform(0.1, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    time.sleep(0.5)  # the killed run's workers may be at their last videos
    before = len(trace.read_text())
    findings = prepare(many, store(), open_decord, Traced(trace, 0.0), 3, WORKERS)
    assert (findings.stored, findings.incomplete) == (90, [])
    assert len(trace.read_text()) == before + findings.decoded <= 90 + 10 * 2 * WORKERS
    for record in many:
        assert brightness(store().open(record.path).read(even_frames(24, 8.0, 3))) == [0, 8, 16]
    assert json.loads(store().manifest.read_text())["settings"] == store().settings


def is_stored(kept: FrameStore, record: Record) -> bool:
    try:
        kept.check([record], "test")
    except UserError:
        return False
    return True


def limited(records, kept, failure: Path) -> None:
    """Prepare with no more than 100 kB of disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        prepare(records, kept, open_decord, even_frames, 5, 0)
    except ValueError as error:
        os.write(int(failure.read_text()), str(error).encode())


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_a_readable_store(tmp_path, store):
    noise = np.random.default_rng(0).integers(0, 255, (8, 128, 128, 3), dtype=np.uint8)
    records = [Record(f"{number}", tmp_path / f"{number}.mp4", ("a cat",)) for number in range(4)]
    for record in records:
        encode(record.path, noise, fps=8)
    kept = store(short_side=64)
    reader, writer = os.pipe()
    (tmp_path / "pipe").write_text(str(writer))
    process = multiprocessing.get_context("fork").Process(target=limited, args=(records, kept, tmp_path / "pipe"))
    process.start()
    process.join()
    os.close(writer)
    message = os.read(reader, 10_000).decode()
    os.close(reader)
    assert "cannot write, is the disk full?" in message
    assert f"data.store.folder={kept.folder}" in message
    stored = [record for record in records if is_stored(kept, record)]
    assert 0 < len(stored) < 4
    for record in stored:
        assert len(FrameReader(5, even_frames, resize_and_crop(32), kept.open)(record)) == 5
    environment.cache_clear()
    assert prepare(records, kept, open_decord, even_frames, 5, 0).decoded == 4 - len(stored)
