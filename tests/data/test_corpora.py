"""The folder corpus: rows to records, and an error for everything that can be wrong with a table."""

import json
from pathlib import Path

import pytest

from retrieval.data.corpora import Folder
from retrieval.data.corpora.folder import read_rows

CLIPS = Path(__file__).parents[3] / "shared" / "clips"


@pytest.fixture
def folder(tmp_path):
    """A function that writes a table beside two (empty) videos and gives the corpus."""
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()

    def write(text, name="captions.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return Folder(tmp_path, name)

    return write


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no ../shared/clips")
def test_the_clips_are_twelve_videos_with_thirty_six_captions():
    records = Folder(CLIPS / "videos", CLIPS / "captions.csv").records("test")
    assert len(records) == 12
    assert sum(len(record.captions) for record in records) == 36
    assert all(record.path.is_file() for record in records)


def test_rows_of_the_same_video_are_one_record(folder):
    records = folder('video,caption\na.mp4,one\nb.mp4,"two, with a comma"\na.mp4,three\n').records("test")
    assert [record.captions for record in records] == [("one", "three"), ("two, with a comma",)]
    assert [record.video_id for record in records] == ["a.mp4", "b.mp4"]


def test_parts_of_a_video_are_records_of_their_own(folder):
    records = folder("video,caption,start,end\na.mp4,one,0,1.5\na.mp4,two,1.5,\na.mp4,three,0,1.5\n").records("test")
    assert [(record.start, record.end, record.captions) for record in records] == [
        (0.0, 1.5, ("one", "three")),
        (1.5, None, ("two",)),
    ]
    assert len({record.video_id for record in records}) == 2
    assert {record.path.name for record in records} == {"a.mp4"}


def test_json_lines_say_the_same_as_csv(folder):
    rows = [{"video": "a.mp4", "caption": "one", "split": "train"}, {"video": "b.mp4", "caption": "two", "start": 2}]
    records = folder("\n".join(json.dumps(row) for row in rows) + "\n\n", "captions.jsonl")
    assert [record.captions for record in records.records("train")] == [("one",)]
    assert [record.start for record in records.records("test")] == [2.0]


def test_a_split_column_is_obeyed_and_its_lack_explained(folder):
    table = folder("video,caption,split\na.mp4,one,train\nb.mp4,two,val\n")
    assert [record.video_id for record in table.records("train")] == ["a.mp4"]
    with pytest.raises(ValueError, match="no rows for the split 'test'"):
        table.records("test")
    with pytest.raises(ValueError, match=r"no rows for the split 'train': add a column 'split'"):
        folder("video,caption\na.mp4,one\n").records("train")
    with pytest.raises(ValueError, match=r"unknown split 'dev': choose one of train, val, test"):
        table.records("dev")


@pytest.mark.parametrize("splits", [("train", "test"), ("val",), ("train", "val", "test")])
def test_a_tables_splits_are_those_of_its_rows(folder, splits):
    rows = [f"a.mp4,one,{split}" for split in reversed(splits)]
    assert folder("\n".join(["video,caption,split", *rows])).splits == splits
    assert folder("video,caption\na.mp4,one\n").splits == ("test",)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("file,caption\na.mp4,one\n", "c.csv", "row 1: no column 'video'; found: file, caption"),
        ("video,text\na.mp4,one\n", "c.csv", "row 1: no column 'caption'; found: video, text"),
        ("", "c.csv", "is empty"),
        ("video,caption\n", "c.csv", "is empty"),
        ("video,caption\na.mp4,\n", "c.csv", "row 1: caption is ''"),
        ("video,caption\na.mp4\n", "c.csv", "row 1: caption is None"),
        ("video,caption\na.mp4,one, two\n", "c.csv", "row 1 has more cells than columns"),
        ("video,caption,split\na.mp4,one,dev\n", "c.csv", "row 1: unknown split 'dev'"),
        ("video,caption,start\na.mp4,one,soon\n", "c.csv", "row 1: start is 'soon'"),
        ("video,caption,start\na.mp4,one,nan\n", "c.csv", "row 1: start is 'nan'"),
        ("video,caption,start,end\na.mp4,one,3,2\n", "c.csv", "row 1: end=2.0 s is not after start=3.0 s"),
        ("x", "c.txt", "unknown ending '.txt'; choose one of .csv, .jsonl"),
        ("{'video'", "c.jsonl", "line 1 is no JSON"),
        ("[1]", "c.jsonl", "line 1 is no JSON object"),
        ('{"video": 3, "caption": "x"}', "c.jsonl", "row 1: video is 3, not a text"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(folder, text, name, message):
    with pytest.raises(ValueError, match="c\\.") as error:
        folder(text, name).records("test")
    assert message in str(error.value)


def test_a_table_in_another_encoding_is_said(tmp_path):
    (tmp_path / "c.csv").write_bytes("video,caption\na.mp4,café\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"c\.csv is no UTF-8 text"):
        read_rows(tmp_path / "c.csv")


def test_missing_files_are_named(folder, tmp_path):
    folder("video,caption\na.mp4,one\n")
    with pytest.raises(ValueError, match=r"other\.csv: no such file; tables there: captions\.csv"):
        Folder(tmp_path, "other.csv").records("test")
    with pytest.raises(ValueError, match=r"data\.root=.*nowhere: no such folder"):
        Folder(tmp_path / "nowhere", "captions.csv").records("test")
