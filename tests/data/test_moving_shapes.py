"""The generated corpus: real files, the same on every run, in twins that only the order of frames tells apart."""

import json
from dataclasses import replace

import av
import numpy as np
import open_clip
import pytest

from retrieval.data import scenes
from retrieval.data.corpora import MovingShapes
from retrieval.data.decoder import open_decord
from retrieval.data.sampling import even_frames

KNOBS = {"seed": 3, "train": 6, "val": 3, "test": 8, "size": 64, "fps": 12, "seconds": 2.0, "twin_share": 0.5}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    corpus = MovingShapes(tmp_path_factory.mktemp("root"), **KNOBS, captions=3)
    corpus.prepare()
    return corpus


def decoded(path):
    video = open_decord(path)
    return video.read(range(video.total))


def test_videos_are_h264_of_the_asked_size_and_number(corpus):
    for split, count in (("train", 6), ("val", 3), ("test", 8)):
        assert len(corpus.records(split)) == count
    record = corpus.records("test")[0]
    assert len(record.captions) == 3
    with av.open(str(record.path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    assert decoded(record.path).shape == (24, 3, 64, 64)


@pytest.mark.parametrize("count", [4, 8, 12])
def test_twins_give_a_time_blind_model_the_same_frames(corpus, count):
    twins = [record for record in corpus.records("test") if "_reversed" in record.video_id]
    assert len(twins) == 2  # half of the 8 videos
    by_id = {record.video_id: record for record in corpus.records("test")}
    for backward in twins:
        forward = by_id[backward.video_id.replace("_reversed", "")]
        videos = [open_decord(record.path) for record in (forward, backward)]
        frames = [video.read(even_frames(video.total, video.fps, count)) for video in videos]
        assert frames[0].equal(frames[1].flip(0))
        assert not frames[0].equal(frames[1])
        assert set(forward.captions).isdisjoint(backward.captions)


def test_the_same_knobs_give_the_same_videos_and_other_seeds_others(corpus, tmp_path):
    again, other = (MovingShapes(tmp_path, **(KNOBS | {"seed": seed}), captions=3) for seed in (3, 4))
    again.prepare()
    assert again.folder.name == corpus.folder.name != other.folder.name
    for split in ("train", "val", "test"):
        for one, two in zip(corpus.records(split), again.records(split), strict=True):
            assert one.captions == two.captions
            assert decoded(one.path).equal(decoded(two.path))


def test_a_written_corpus_is_used_again_and_a_half_written_one_is_not(corpus, tmp_path, monkeypatch):
    before = (corpus.folder / "manifest.json").stat().st_mtime_ns
    corpus.prepare()
    assert (corpus.folder / "manifest.json").stat().st_mtime_ns == before
    assert json.loads((corpus.folder / "manifest.json").read_text())["twin_share"] == 0.5

    broken = MovingShapes(tmp_path, **KNOBS, captions=3)
    written = []

    def fail_at_the_third(folder, video):
        written.append(video)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(broken, "_write_video", fail_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        broken.prepare()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"data\.root=.* is missing; prepare\(\) writes it"):
        broken.records("test")


def test_two_runs_may_write_the_corpus_at_once(tmp_path, monkeypatch):
    one, two = (MovingShapes(tmp_path, **KNOBS, captions=3) for _ in range(2))
    write = one._write

    def write_while_another_does(folder):
        write(folder)
        two.prepare()

    monkeypatch.setattr(one, "_write", write_while_another_does)
    one.prepare()
    assert [path.name for path in tmp_path.iterdir()] == [one.folder.name]
    assert one.records("test")


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"data\.root=.*file: cannot write the corpus there"):
        MovingShapes(tmp_path / "file", **KNOBS, captions=3).prepare()


def test_no_scene_comes_twice_in_or_across_splits():
    plan = list(MovingShapes("data", **(KNOBS | {"train": 1600, "val": 100, "test": 200}), captions=3).plan())
    assert [sum(video.split == split for video in plan) for split in ("train", "val", "test")] == [1600, 100, 200]
    assert len({video.scene for video in plan}) == len(plan) == 1900
    twins = {video.scene.reversed(): video.split for video in plan if video.is_reversed}
    for video in plan:
        assert twins.get(video.scene, video.split) == video.split  # a twin is in its video's split
    lone = [v for v in plan if not v.is_reversed and v.scene not in twins]
    assert {video.scene.reversed() for video in lone}.isdisjoint(video.scene for video in plan)
    assert len({text for video in plan for text in scenes.captions_of(video.scene, 5)}) == 5 * len(plan)


def test_captions_are_short_enough_for_clip():
    words = open_clip.get_tokenizer("ViT-B-32")
    random = np.random.default_rng(0)
    for _ in range(300):
        scene = replace(
            scenes.random_scene(random), companion=("striped", "yellow", "triangle"), path=("right", "down")
        )
        captions = scenes.captions_of(scene, 5)
        assert len(set(captions)) == 5
        assert max(len(words.encode(text)) + 2 for text in captions) <= 30


@pytest.mark.parametrize("path", scenes.PATHS, ids="-".join)
def test_shapes_move_as_they_are_told(path):
    random = np.random.default_rng(1)
    scene = scenes.Scene("black", "green", "circle", "plain", "small", "quickly", path)
    frames = scenes.render(scene, 25, 64, random)
    rows, columns = np.indices((64, 64))
    green = frames[..., 1] > 100
    assert green.any(axis=(1, 2)).all()
    centres = np.array([[columns[mask].mean(), rows[mask].mean()] for mask in green])
    stops = centres[np.linspace(0, 24, len(path) + 1).astype(int)]
    for move, step in zip(path, np.diff(stops, axis=0), strict=True):
        np.testing.assert_allclose(step, 32 * np.array(scenes.DIRECTIONS[move]), atol=1.5)
    backwards = scene.reversed()
    assert backwards.reversed() == scene != backwards


def test_the_companion_stands_clear_of_the_moving_shape():
    random = np.random.default_rng(2)
    for path in scenes.PATHS:
        for size in scenes.RADII:
            scene = scenes.Scene("black", "red", "square", "plain", size, "quickly", path, ("plain", "blue", "circle"))
            blue = scenes.render(scene, 24, 64, random)[..., 2] > 150
            assert (blue.sum(axis=(1, 2)) == blue[0].sum()).all()
            assert blue[0].sum() > 200  # of about 314 pixels of a whole circle of radius 10


@pytest.mark.parametrize(
    ("knob", "value"), [("train", 0), ("size", 63), ("seconds", 0.0), ("twin_share", 1.5), ("fps", 0)]
)
def test_impossible_knobs_are_named(knob, value):
    with pytest.raises(ValueError, match=rf"data\.corpus: .*{knob}"):
        MovingShapes("data", **(KNOBS | {knob: value}), captions=3)
    with pytest.raises(ValueError, match=r"captions = 6, must be from 1 to 5"):
        MovingShapes("data", **KNOBS, captions=6)
