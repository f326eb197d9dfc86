"""The field's sets: counts of the real annotation files, records of miniatures, and what is said of another layout."""

import json
import pickle
import re
from pathlib import Path

import pytest

from retrieval.data.corpora import LSMDC, MSRVTT, MSVD, ActivityNet, DiDeMo
from retrieval.data.corpora.msvd import read_captions
from retrieval.data.corpora.published import bare_name
from retrieval.data.corpora.tables import check_sentences
from retrieval.errors import UserError
from tests.miniatures import ANNOTATIONS, MINIATURES, MSVD_CAPTIONS, TEST, TRAIN, VAL

SETS = {"msrvtt": MSRVTT, "msvd": MSVD, "lsmdc": LSMDC, "didemo": DiDeMo, "activitynet": ActivityNet}
real = pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason="no ../shared/annotations")


@pytest.fixture
def miniature(tmp_path):
    """A function from a set's name to its corpus over a miniature."""

    def build(name, **knobs):
        MINIATURES[name](tmp_path)
        return SETS[name](tmp_path, **knobs)

    return build


@real
def test_msrvtt_has_1000_test_captions_and_9000_or_7010_training_ids():
    captions = MSRVTT(ANNOTATIONS / "msrvtt").captions("test")
    assert len(captions) == sum(map(len, captions.values())) == 1000
    assert captions["video9770"] == ["a person is connecting something to system"]
    assert len(set(MSRVTT(ANNOTATIONS / "msrvtt")._training_ids())) == 9000
    assert len(set(MSRVTT(ANNOTATIONS / "msrvtt", partition="7k")._training_ids())) == 7010


@real
@pytest.mark.parametrize(("split", "videos"), [("train", 1200), ("val", 100), ("test", 670)])
def test_msvd_lists_hold_the_published_counts(split, videos, tmp_path):
    ids = (ANNOTATIONS / "msvd" / f"{split}_list.txt").read_text().split()
    (tmp_path / f"{split}_list.txt").symlink_to(ANNOTATIONS / "msvd" / f"{split}_list.txt")
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps({name: [["a", "cat"]] for name in ids}))
    assert len(MSVD(tmp_path).captions(split)) == videos


@real
def test_lsmdc_has_1000_test_clips_with_one_sentence_each():
    captions = LSMDC(ANNOTATIONS / "lsmdc").captions("test")
    assert len(captions) == sum(map(len, captions.values())) == 1000
    assert captions["3086_UGLY_TRUTH_00.23.23.000-00.23.28.886"] == ["SOMEONE stands below, hands on her hips."]


@real
@pytest.mark.parametrize(("split", "ids", "videos"), [("train", "train_ids", 10009), ("test", "val_ids", 4917)])
def test_activitynet_has_a_paragraph_for_all_videos_but_those_without_sentences(split, ids, videos):
    captions = ActivityNet(ANNOTATIONS / "activitynet").captions(split)
    assert len(captions) == sum(map(len, captions.values())) == videos
    assert not any("  " in text or text != text.strip() for (text,) in captions.values())
    listed = set(json.loads((ANNOTATIONS / "activitynet" / f"{ids}.json").read_text()))
    assert captions.keys() < listed
    assert len(listed - captions.keys()) == {"train": 15, "test": 9}[split]


@pytest.mark.parametrize("name", SETS)
def test_a_miniature_gives_every_video_of_every_split(miniature, name):
    corpus = miniature(name)
    sizes = {"train": TRAIN, "val": VAL, "test": TEST}
    assert {split: len(corpus.records(split)) for split in corpus.splits} == {s: sizes[s] for s in corpus.splits}
    for split in corpus.splits:
        records = corpus.records(split)
        assert all(record.path.is_file() for record in records)
        assert len({record.path for record in records}) == len(records)
        assert records == corpus.records(split)


def test_each_set_counts_its_captions_as_the_field_does(miniature, tmp_path):
    captions = {}
    for name in SETS:
        (tmp_path / name).mkdir()
        MINIATURES[name](tmp_path / name)
        captions[name] = [len(record.captions) for record in SETS[name](tmp_path / name).records("test")]
    assert captions["msvd"] == list(MSVD_CAPTIONS)
    assert all(captions[name] == [1] * TEST for name in SETS if name != "msvd")
    full = MSRVTT(tmp_path / "msrvtt", partition="full")
    assert [len(full.records(split)) for split in ("train", "val", "test")] == [TRAIN - 1, 1, TEST]
    assert {len(record.captions) for record in full.records("test")} == {20}
    assert len(MSRVTT(tmp_path / "msrvtt", partition="7k").records("train")) == TRAIN - 1


def test_didemo_joins_the_descriptions_of_a_video(miniature):
    record = miniature("didemo").records("val")[0]
    assert record.captions == ("moment 0 of 80. moment 1 of 80. moment 2 of 80. moment 3 of 80. moment 4 of 80.",)


def test_a_paragraph_has_single_spaces():
    assert check_sentences([" A man sits.", "  He\tstands. ", ""], "here") == "A man sits. He stands."


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("activitynet", "val_1.json", lambda text: text.replace('["A person', '"A person', 1), "is no JSON"),
        ("activitynet", "val_1.json", lambda text: re.sub(r"\[(\"[^]]*)\]", '"A man"', text), "not a list of texts"),
        ("activitynet", "val_1.json", lambda text: text.replace("82.73", "NaN"), "duration is 'nan'"),
        ("activitynet", "val_1.json", lambda text: 100_000 * "[", "val_1.json is no JSON"),
        ("activitynet", "val_1.json", lambda text: text.replace('"v_', '"../v_'), "which is no name of a file"),
        ("didemo", "test_data.json", lambda text: text.replace('"moment', '3, "x": "moment'), "not a list of texts"),
        ("didemo", "test_data.json", lambda text: re.sub(r'"video": "[^"]*"', '"video": 3', text), "video is 3"),
        ("lsmdc", "LSMDC16_challenge_1000_publictect.csv", lambda text: "\t" + text.partition("\t")[2], "cell 1 is ''"),
        ("msrvtt", "MSRVTT_JSFUSION_test.csv", lambda text: text + text.splitlines()[-1], "stands there twice"),
        ("msrvtt", "MSRVTT_JSFUSION_test.csv", lambda text: text + 'x,y,z,"a', "is a quote not closed?"),
        ("msrvtt", "MSRVTT_JSFUSION_test.csv", lambda text: text + "x", "has 1 cells, not 4"),
    ],
)
def test_what_is_wrong_with_annotations_is_told_with_its_place(miniature, tmp_path, name, file, change, message):
    corpus = miniature(name)
    (path,) = tmp_path.rglob(file)
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=re.escape(message)) as error:
        corpus.records("test")
    assert str(tmp_path) in str(error.value)


def test_only_container_endings_are_taken_off_a_name():
    assert bare_name("1_A_00.23.23.000-00.23.28.886.avi") == "1_A_00.23.23.000-00.23.28.886"
    assert bare_name("12@N02_1.mov.MP4") == "12@N02_1"


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_a_malicious_pickle_runs_nothing_and_is_refused_by_name(tmp_path, protocol):
    trace, path = tmp_path / "trace", tmp_path / "raw-captions.pkl"
    path.write_bytes(pickle.dumps({"a": [["x"]], "b": Malicious(trace)}, protocol=protocol))
    with pytest.raises(ValueError, match=r"raw-captions\.pkl: refused, for it asks for \S+\.\S+"):
        read_captions(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())  # the same bytes do run in a plain unpickler
    assert trace.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_plain_captions_are_read_from_any_protocol(tmp_path, protocol):
    (tmp_path / "c.pkl").write_bytes(pickle.dumps({"a": [["a", "café"], ("b",)], "b": ["c d"]}, protocol=protocol))
    assert read_captions(tmp_path / "c.pkl") == {"a": ["a café", "b"], "b": ["c d"]}


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": [["x"]]})[:-3], pickle.dumps([1])])
def test_a_damaged_pickle_is_named(tmp_path, content):
    (tmp_path / "raw-captions.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"raw-captions\.pkl"):
        read_captions(tmp_path / "raw-captions.pkl")


def lsmdc_in(folder, text="1_A_00.00-00.01\t0\t1\t0\t1\tSOMEONE waits.\n"):
    (folder / "LSMDC16_challenge_1000_publictect.csv").write_text(text)
    return LSMDC(folder)


def test_another_layout_is_met_with_what_was_looked_for_and_found(tmp_path):
    with pytest.raises(ValueError, match=r"data\.root=.*nowhere: no such folder; give the folder of MSRVTT"):
        MSRVTT(tmp_path / "nowhere").records("test")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "test.csv").touch()
    with pytest.raises(ValueError, match=r"no MSRVTT_JSFUSION_test\.csv in it .*; found: annotations/test\.csv"):
        MSRVTT(tmp_path).records("test")
    (tmp_path / "other.mp4").touch()
    with pytest.raises(ValueError, match=r"none of the 1 videos .* looked for 1_A_.* \.mp4.*; found: other\.mp4"):
        lsmdc_in(tmp_path).records("test")
    with pytest.raises(ValueError, match=r"data\.videos=.*clips: no such folder"):
        LSMDC(tmp_path, videos="clips").records("test")
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        LSMDC(tmp_path).records("dev")
    with pytest.raises(ValueError, match="ActivityNet has no split 'val', but train, test"):
        ActivityNet(tmp_path).records("val")
    with pytest.raises(ValueError, match=r"data\.corpus\.partition='8k': choose one of 9k, 7k, full"):
        MSRVTT(tmp_path, partition="8k")


def test_a_video_may_lie_once_and_anywhere(tmp_path):
    (tmp_path / "a" / "1_A").mkdir(parents=True)
    (tmp_path / "a" / "1_A" / "1_A_00.00-00.01.webm").touch()
    (record,) = lsmdc_in(tmp_path).records("test")
    assert record.path == tmp_path / "a" / "1_A" / "1_A_00.00-00.01.webm"
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "1_A_00.00-00.01.mp4").touch()
    with pytest.raises(
        ValueError, match=r"two videos for 1_A_00.00-00.01: .*; name the folder of one with data\.videos"
    ):
        LSMDC(tmp_path).records("test")
    assert LSMDC(tmp_path, videos="small").records("test")[0].path.suffix == ".mp4"


def test_a_video_under_two_names_is_told_once(tmp_path, caplog):
    entry = {"sentences": ["A dog runs."], "timestamps": [[0, 1]]}
    table = {"v_a": entry | {"duration": 82.73}, "v_b": entry | {"duration": 9}, "v_c": entry}
    (tmp_path / "val_1.json").write_text(json.dumps(table))
    for name in ("v_a.mp4", "a.mkv", "b.mp4", "v_c.mp4"):
        (tmp_path / name).touch()
    records = ActivityNet(tmp_path).records("test")
    assert [record.path.name for record in records] == ["v_a.mp4", "b.mp4", "v_c.mp4"]
    assert [record.duration for record in records] == [82.73, 9, None]
    (warning,) = caplog.messages
    assert "1 videos of the split 'test' have several files" in warning
    assert f"{tmp_path / 'v_a.mp4'} and not {tmp_path / 'a.mkv'}" in warning


@pytest.mark.parametrize(
    ("corpus", "name", "text", "message"),
    [
        (LSMDC, "LSMDC16_challenge_1000_publictect.csv", "a\tb\n", r"publictect\.csv, line 1: 2 tab-separated cells"),
        (MSRVTT, "MSRVTT_JSFUSION_test.csv", "id,text\n1,a\n", r"no column 'video_id'; found: id, text"),
        (DiDeMo, "test_data.json", '{"a": 1}', r"test_data\.json is no list of entries"),
        (DiDeMo, "test_data.json", "{", r"test_data\.json is no JSON"),
        (ActivityNet, "val_1.json", "[1]", r"val_1\.json is no dict from video ids to 'sentences'"),
    ],
)
def test_a_damaged_annotation_file_is_named(tmp_path, corpus, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        corpus(tmp_path).records("test")


def test_captions_that_lack_a_listed_video_are_named(tmp_path):
    (tmp_path / "test_list.txt").write_text("a\nb")
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps({"a": [["x"]]}))
    with pytest.raises(ValueError, match=r"raw-captions\.pkl has no captions of 1 of 2 videos .*, the first: b"):
        MSVD(tmp_path).records("test")
    (tmp_path / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\n")
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps({"videos": [], "sentences": []}))
    with pytest.raises(ValueError, match=r"MSRVTT_data\.json has no captions of 1 of 1 videos .*, the first: video0"):
        MSRVTT(tmp_path).records("train")
    (tmp_path / "MSRVTT_data.json").write_text("[]")
    with pytest.raises(ValueError, match=r"MSRVTT_data\.json has no 'videos' and 'sentences'"):
        MSRVTT(tmp_path).records("train")
