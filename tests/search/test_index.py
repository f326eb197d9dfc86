"""An index answers as brute force does, follows its folder, and knows its model."""

import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from filelock import FileLock

from retrieval import load_model
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.dataset import FrameReader
from retrieval.data.decoder import open_pyav
from retrieval.data.decoder.guarded import Guarded
from retrieval.data.transforms import resize_and_crop
from retrieval.errors import UserError
from retrieval.heads import TokenWise
from retrieval.metrics import RetrievalMetrics
from retrieval.search import Filters, Index
from retrieval.search.about import About
from retrieval.search.cutting import Cut
from retrieval.search.encoder import Encoder
from tests.search.conftest import FRAMES, folder_of


@pytest.fixture
def films(shapes, tmp_path):
    """A folder of four videos of their own."""
    folder = tmp_path / "films"
    folder.mkdir()
    for record in shapes[:4]:
        shutil.copy(record.path, folder)
    return folder


@pytest.fixture
def index(encoder, films, tmp_path):
    made = Index.create(tmp_path / "index", encoder)
    made.add(films, workers=0, open=open_pyav)
    return made


def paths(index):
    return [os.path.basename(moment.path) for moment in index.moments]


def brute_force(encoder, records):
    """What evaluation keeps of whole videos."""
    reader = FrameReader(encoder.frames, encoder.sampler, resize_and_crop(encoder.model.image_size), open_pyav)
    with torch.inference_mode():
        return torch.cat([encoder.model.encode_video(reader(record)[None]) for record in records])


def test_a_moment_is_encoded_as_evaluation_does(made, encoder, shapes):
    assert len(made.moments) == 3 * len(shapes)
    parts = [replace(record, start=0.5, end=1.5) for record in shapes]
    mine = [made.vectors[moment.number] for moment in made.moments if moment.start == 0.5]
    torch.testing.assert_close(torch.stack(mine), brute_force(encoder, sorted(parts, key=lambda part: part.path)))


def test_answers_are_those_of_a_plain_product_ties_in_order(made, shapes):
    kept = made.encode_text([caption for record in shapes for caption in record.captions])
    text, video = (torch.nn.functional.normalize(each.double(), dim=-1) for each in (kept, made.vectors))
    scores = (text @ video.T).float()
    torch.testing.assert_close(made.scores(kept), scores, rtol=0, atol=1e-7)
    for found, row in zip(made.nearest(kept, 7), made.scores(kept), strict=True):
        best = row.sort(descending=True, stable=True)
        assert [moment.number for _, moment in found] == best.indices[:7].tolist()
        assert [score for score, _ in found] == best.values[:7].tolist()


def test_the_right_video_is_first_as_often_as_r_at_1_says(encoder, shapes, tmp_path):
    """Whole videos, one of them twice under another name: a tie is nobody's first place in both."""
    folder = tmp_path / "films"
    shutil.copytree(folder_of(shapes), folder)
    shutil.copy(shapes[0].path, folder / "copy.mp4")
    copies = [*shapes, replace(shapes[0], path=folder / "copy.mp4", video_id="copy")]
    records = [replace(record, path=folder / record.path.name) for record in copies]
    index = Index.create(tmp_path / "index", encoder)
    index.add(folder, workers=0, open=open_pyav)
    captions = [(caption, number) for number, record in enumerate(records) for caption in record.captions]
    kept = encoder.texts([caption for caption, _ in captions])
    metrics = RetrievalMetrics(similarity=encoder.model.head.similarity)
    metrics.update_videos(brute_force(encoder, records), torch.arange(len(records)))
    metrics.update_captions(kept, torch.arange(len(captions)), torch.tensor([video for _, video in captions]))
    first = 0
    for (_, video), (best, second) in zip(captions, index.nearest(kept, 2), strict=True):
        first += best[1].path == str(records[video].path) and best[0] > second[0]
    assert 100 * first / len(captions) == pytest.approx(float(metrics.compute()["t2v/r_at_1"]), abs=1e-4)


def test_the_vector_index_finds_the_same_and_keeps_to_filters(made, encoder, shapes, tmp_path, monkeypatch):
    place = shutil.copytree(made.storage.address, tmp_path / "with_vector_index")
    asked = Index.open(place, encoder, ann=True)
    kept = made.encode_text([record.captions[0] for record in shapes])
    assert asked.nearest(kept, 5) == made.nearest(kept, 5)
    name = shapes[3].path.name
    found = asked.nearest(kept[:1], 5, Filters(path=f"*/{name}"))
    assert found == made.nearest(kept[:1], 5, Filters(path=name))
    assert {os.path.basename(moment.path) for _, moment in found[0]} == {name}
    assert asked.nearest(kept[:1], 5, Filters(path="nowhere")) == [[]]
    assert asked.nearest(kept[:1], 5, Filters(before=1.0)) == made.nearest(kept[:1], 5, Filters(after=9e9)) == [[]]
    monkeypatch.setattr("retrieval.search.nearest.indexed", lambda *arguments: [])
    assert Index.open(place, encoder).nearest(kept[:1], 5) == [[]], "where there is one, it is asked"
    assert Index.open(place, encoder, ann=False).nearest(kept[:1], 5) == made.nearest(kept[:1], 5)


def test_brackets_in_names_are_letters_and_before_is_before():
    assert Filters("[1080p]").allow("/films/a [1080p].mp4", 0.0)
    assert Filters("*[1080p].*").allow("/films/a [1080p].mp4", 0.0)
    assert not Filters("*[1080p].*").allow("/films/a 1.mp4", 0.0)
    assert not Filters(before=5.0).allow("/a.mp4", 5.0)
    assert Filters(after=5.0).allow("/a.mp4", 5.0)


def test_min_score_and_thumbnails(made, shapes):
    kept = made.encode_text(["a circle"])
    scores = [score for score, _ in made.nearest(kept, 4)[0]]
    assert [score for score, _ in made.nearest(kept, 4, Filters(min_score=scores[1]))[0]] == scores[:2]
    pictures = made.thumbnails([made.moments[3], made.moments[0]])
    assert all(picture.startswith(b"\xff\xd8") for picture in pictures)


def test_like_this(made, shapes, tmp_path):
    moment = made.moments[4]
    (found,) = made.nearest(made.encode_frames(moment.path, moment.start, moment.end, open_pyav), 1)
    assert found[0][1] == moment
    assert found[0][0] == pytest.approx(1)
    (tmp_path / "still.jpg").write_bytes(made.thumbnails([moment])[0])
    assert made.encode_image(tmp_path / "still.jpg").shape == (1, *made.storage.about.shape)
    with pytest.raises(UserError, match="not a picture"):
        made.encode_image(moment.path)


def test_it_follows_its_folder(index, films, encoder, shapes):
    opened = []

    def opening(path):
        opened.append(path.name)
        return open_pyav(path)

    before = index.vectors.clone()
    names = sorted(path.name for path in films.iterdir())
    again = index.add(films, workers=0, open=opening)
    assert (again.unchanged, again.added, opened) == (4, 0, [])
    shutil.copy(shapes[5].path, films / names[1])  # changed
    (films / names[2]).rename(films.parent / "elsewhere.mp4")  # vanished
    shutil.copy(shapes[6].path, films / "new.mp4")
    summary = index.add(films, workers=0, open=opening)
    assert sorted(opened) == sorted([names[1], "new.mp4"])
    assert (summary.unchanged, summary.added, summary.replaced, summary.vanished) == (2, 1, 1, 1)
    assert paths(index) == sorted([names[0], names[1], names[3], "new.mp4"])
    assert index.storage.count() == 5  # the vanished one is kept, out of sight
    (films.parent / "elsewhere.mp4").rename(films / names[2])
    assert index.add(films, workers=0, open=opening).unchanged == 5
    assert len(opened) == 2
    assert torch.equal(index.vectors[paths(index).index(names[2])], before[2])
    (films / names[2]).unlink()
    assert index.add(films, prune=True, workers=0, open=opening).pruned == 1
    assert index.storage.count() == len(index.moments) == 4


def test_a_killed_job_leaves_nothing_that_is_seen(index, films, encoder):
    """Moments were written, and then the job was killed before their files were listed."""
    row = index.files[str(films / min(os.listdir(films)))]
    index.storage.files.delete(f"path = '{row.path}'")
    index.refresh()
    assert row.path not in {moment.path for moment in index.moments}
    assert index.add(films, workers=0, open=open_pyav).added == 1
    assert index.storage.count() == len(index.moments) == 4


def test_a_file_that_is_listed_without_its_moments_is_read_again(index, films):
    """A job was killed after it had replaced the moments of a file, and the file is what it was by now."""
    row = index.files[str(films / min(os.listdir(films)))]
    index.storage.moments.delete(f"path = '{row.path}'")
    summary = index.add(films, workers=0, open=open_pyav)
    assert (summary.unchanged, summary.added) == (3, 1)
    assert paths(index) == sorted(os.listdir(films))


def test_broken_and_hanging_files_are_listed_and_read_again_only_when_they_change(index, films, shapes):
    def hanging(path):
        if path.name == "hangs.mp4":
            time.sleep(60)
        return open_pyav(path)

    whole = shapes[7].path.read_bytes()
    (films / "broken.mp4").write_bytes(whole[: len(whole) // 2])
    (films / "hangs.mp4").write_bytes(whole)
    guarded = Guarded(hanging, deadline=1.5)
    summary = index.add(films, workers=0, open=guarded)
    assert sorted(os.path.basename(path) for path in summary.broken) == ["broken.mp4", "hangs.mp4"]
    assert "data.deadline" in summary.broken[str(films / "hangs.mp4")]
    assert index.add(films, workers=0, open=guarded).unchanged == 6
    assert index.broken == summary.broken
    (films / "broken.mp4").write_bytes(whole)
    assert "broken.mp4" in {os.path.basename(path) for path in index.broken}
    assert index.add(films, workers=0, open=open_pyav).replaced == 1
    assert "broken.mp4" in paths(index)


def test_one_job_writes_at_a_time(index, films):
    with FileLock(os.path.join(index.storage.address, ".lock")), pytest.raises(UserError, match="in use by"):
        index.add(films, workers=0, open=open_pyav)


def test_an_object_stores_address_is_handed_on(encoder, films, tmp_path):
    address = f"file://{tmp_path}/stored"
    Index.create(address, encoder).add(films, workers=0, open=open_pyav)
    assert len(Index.open(address, encoder).moments) == 4
    assert (tmp_path / "stored" / "moments.lance").is_dir()


def test_another_model_is_refused_and_both_are_named(index, tmp_path):
    other = Encoder(load_model("ViT-tiny-8"), FRAMES, words=12)
    with pytest.raises(UserError, match=r"TempMe, Mean, 4 frames.* and this is .*none, Mean, 4 frames"):
        Index.open(tmp_path / "index", other)
    with pytest.raises(UserError, match="give that model"):
        Index.open(tmp_path / "index").encode_text(["a circle"])
    with pytest.raises(UserError, match="random weights"):
        Index.create(tmp_path / "random", "ViT-tiny-8")


@pytest.mark.slow
def test_heads_that_keep_more_than_a_vector(films, tmp_path):
    encoder = Encoder(load_model("ViT-tiny-8", head=TokenWise()), FRAMES, words=12)
    index = Index.create(tmp_path / "words", encoder)
    index.add(films, workers=0, open=open_pyav)
    kept = index.encode_text(["a circle moves", "a square"])
    assert index.vectors.shape == (4, FRAMES, 65)
    best = encoder.model.head.similarity(kept.double(), index.vectors.double()).float()
    assert index.nearest(kept, 1)[1][0][0] == best[1].max().item()
    with pytest.raises(UserError, match="TokenWise"):
        Index.open(tmp_path / "words", encoder, ann=True).nearest(kept, 1)


def test_a_checkpoint_is_loaded_as_it_was_trained(encoder, films, tmp_path):
    from tests.search.checkpoint import write

    path = write(tmp_path / "tiny.ckpt", encoder.model, {"data.frames": FRAMES, "words": 12})
    Index.create(tmp_path / "index", path).add(films, workers=0, open=open_pyav)
    opened = Index.open(tmp_path / "index")
    assert torch.equal(opened.encode_text(["a circle"]), encoder.texts(["a circle"]))
    moved = path.rename(tmp_path / "moved.ckpt")
    with pytest.raises(UserError, match="no such weights file"):
        Index.open(tmp_path / "index").encode_text(["a circle"])
    assert Index.open(tmp_path / "index", moved).encode_text(["a circle"]).shape == (1, 64)


def test_what_it_tells_of_itself_is_read_strictly(index):
    text = index.storage.about.write()
    assert About.read(text, "here") == index.storage.about
    for damage in (
        text[:40],
        text.replace('"format": 1', '"format": 2'),
        text.replace('"frames": 4', '"frames": "4"'),
        text.replace('"shape": [64]', '"shape": [-1]'),
        text.replace('"shape": [64]', '"shape": [4294967296]'),
        text.replace('"name": "even"', '"name": "${oc.env:HOME}"'),
        text.replace('"stride": 5.0', '"stride": "5"'),
    ):
        assert damage != text
        with pytest.raises(UserError, match="here: "):
            About.read(damage, "here")


def test_tables_that_are_not_those_it_tells_of_are_refused(index):
    import pyarrow as pa

    about = replace(index.storage.about, shape=(32,))
    index.storage.database.create_table("about", pa.table({"json": [about.write()]}), mode="overwrite")
    with pytest.raises(UserError, match="damaged, the columns of its moments"):
        Index.open(index.storage.address)


def test_where_there_is_no_index(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such folder"):
        Index.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no index there"):
        Index.open(tmp_path / "empty")
    assert not Index.exists(tmp_path / "nowhere")
    with pytest.raises(UserError, match="index=nothing://here: cannot be opened"):
        Index.exists("nothing://here")
    monkeypatch.setitem(__import__("sys").modules, "lancedb", None)
    with pytest.raises(UserError, match=r'pip install "/path/to/this/repository\[search\]"'):
        Index.open(tmp_path)


@pytest.mark.slow
def test_long_videos_are_read_in_pieces_and_encoded_alike(encoder, tmp_path):
    """Batches of two, three and four moments give the same vectors, whichever worker reads."""
    frames = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3)).astype(np.uint8)
    (tmp_path / "films").mkdir()
    for number in range(3):
        encode(tmp_path / "films" / f"{number}.mp4", frames[: 60 - 10 * number], fps=6)
    vectors = []
    for number, (batch_size, workers) in enumerate([(4, 0), (3, 2), (2, 2)]):
        index = Index.create(tmp_path / f"index{number}", encoder, Cut(2.0, 1.0))
        index.add(tmp_path / "films", batch_size=batch_size, workers=workers, open=open_pyav)
        vectors.append(index.vectors)
        assert len(index.moments) == 9 + 8 + 6
    torch.testing.assert_close(vectors[0], vectors[1])
    torch.testing.assert_close(vectors[0], vectors[2])
