"""The folder corpus: rows to records, and an error for everything that can be wrong with a table."""

import json
import logging
from pathlib import Path

import pytest

from retrieval.data.corpora import Folder
from retrieval.data.corpora.folder import read_rows

ROW = {"video": "a.mp4", "caption": "one"}
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
        ("file,caption\na.mp4,one\n", "c.csv", "row 1 (line 2): no column 'video'; found: file, caption"),
        ("video,text\na.mp4,one\n", "c.csv", "row 1 (line 2): no column 'caption'; found: video, text"),
        ("", "c.csv", "is empty"),
        ("video,caption\n", "c.csv", "is empty"),
        ("video,caption\na.mp4,\n", "c.csv", "row 1 (line 2): caption is ''"),
        ("video,caption\na.mp4\n", "c.csv", "row 1 (line 2) has 1 cells, not 2"),
        ("video,caption\na.mp4,one, two\n", "c.csv", "row 1 (line 2) has 3 cells, not 2"),
        ("video,caption,split\na.mp4,one\n", "c.csv", "row 1 (line 2) has 2 cells, not 3"),
        ('video,caption\n\na.mp4,one\na.mp4,"two\na.mp4,three\n', "c.csv", "row 2 (line 4) is no CSV: unexpected end"),
        (
            'video,caption\na.mp4,"two\na.mp4,three"\na.mp4,four\n',
            "c.csv",
            "row 1 (line 2): a cell goes on in the next",
        ),
        ('video,caption\na.mp4,"two" three\n', "c.csv", "row 1 (line 2) is no CSV: ',' expected after '\"'"),
        ("video,caption\na.mp4," + 131_073 * "x", "c.csv", "row 1 (line 2) is no CSV: a cell has over 131,072 letters"),
        ("video,caption,caption\na.mp4,one,two\n", "c.csv", "two columns are called 'caption'"),
        ("video,caption\na.mp4,o\0ne\n", "c.csv", "line 2 holds NUL"),
        ("video,caption,split\na.mp4,one,dev\n", "c.csv", "row 1 (line 2): unknown split 'dev'"),
        ("video,caption,start\na.mp4,one,soon\n", "c.csv", "row 1 (line 2): start is 'soon'"),
        ("video,caption,start\na.mp4,one,nan\n", "c.csv", "row 1 (line 2): start is 'nan'"),
        ("video,caption,start,end\na.mp4,one,3,2\n", "c.csv", "row 1 (line 2): end=2.0 s is not after start=3.0 s"),
        ("x", "c.txt", "unknown ending '.txt'; choose one of .csv, .jsonl"),
        ("\n{'video'", "c.jsonl", "row 1 (line 2) is no JSON"),
        ("[1]", "c.jsonl", "row 1 (line 1) is no JSON object"),
        ('{"video": 3, "caption": "x"}', "c.jsonl", "row 1 (line 1): video is 3, not a text"),
        (100_000 * '{"video": ', "c.jsonl", "row 1 (line 1) is no JSON: "),
        ('{"video": "a", "caption": %s}' % (5000 * "1"), "c.jsonl", "row 1 (line 1) is no JSON: "),
        ('{"video": "a", "caption": "x", "caption": "y"}', "c.jsonl", "'caption' stands there twice"),
        ('{"video": "a", "caption": "\\ud800"}', "c.jsonl", "half a character"),
        ('{"video": "a\\nb", "caption": "x"}', "c.jsonl", "not the name of a file"),
        ('{"video": "a", "caption": "x", "start": true}', "c.jsonl", "start is True, not a time in seconds"),
        ('{"video": "a", "caption": "x", "start": NaN}', "c.jsonl", "start is nan, not a time in seconds"),
        ('{"video": "a", "caption": "x", "split": 0}', "c.jsonl", "unknown split 0"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(folder, text, name, message):
    with pytest.raises(ValueError, match="c\\.") as error:
        folder(text, name).records("test")
    assert message in str(error.value)


def test_a_table_in_another_encoding_is_said(tmp_path):
    (tmp_path / "c.csv").write_bytes("video,caption\na.mp4,café\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"c\.csv is no UTF-8 text, from line 2 on"):
        read_rows(tmp_path / "c.csv")
    (tmp_path / "c.csv").write_bytes("video,caption\na.mp4,one\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"c\.csv is no UTF-8 text, from line 1 on"):
        read_rows(tmp_path / "c.csv")


@pytest.mark.parametrize(("name", "text"), [("c.csv", "video,caption\ra.mp4,one\r"), ("c.jsonl", json.dumps(ROW))])
def test_a_byte_order_mark_and_any_line_ends_are_read(tmp_path, name, text):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [(row["video"], row["caption"]) for row in read_rows(tmp_path / name)] == [("a.mp4", "one")]


def test_how_much_was_read_is_logged(folder, caplog):
    caplog.set_level(logging.INFO)
    folder("video,caption,split\na.mp4,one,val\na.mp4,two,val\nb.mp4,three,test\n").records("val")
    assert "captions.csv, val: 2 of 3 rows: 1 videos, 2 captions" in caplog.text


def test_a_table_names_no_file_outside_of_its_folder(tmp_path):
    """By its name; a link in the folder itself leads where its owner wants, but no way back over it leads out."""
    root = tmp_path / "root"
    (root / "own").mkdir(parents=True)
    (tmp_path / "elsewhere" / "below").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "elsewhere" / "below")
    for name in ("../a.mp4", "/etc/passwd", "own/../../a.mp4", "link/../a.mp4", "../root2/a.mp4", f"{tmp_path}/a.mp4"):
        (root / "captions.csv").write_text(f"video,caption\n{name},one\n")
        with pytest.raises(ValueError, match=r"row 1: video .* is outside of data\.root=.*; data\.outside_root=allow"):
            Folder(root, "captions.csv").records("test")
        assert Folder(root, "captions.csv", outside_root="allow").records("test")[0].path == root / name
    for name in ("own/../a.mp4", "link/a.mp4", "link/../../root/a.mp4", f"{root}/a.mp4", "..a.mp4"):
        (root / "captions.csv").write_text(f"video,caption\n{name},one\n")
        assert Folder(root, "captions.csv").records("test")[0].path == root / name
    with pytest.raises(ValueError, match=r"data\.outside_root='yes': choose one of refuse, allow"):
        Folder(root, "captions.csv", outside_root="yes")


def test_parts_of_nearly_the_same_time_keep_names_of_their_own(folder):
    records = folder("video,caption,start\na.mp4,one,1234567.1\na.mp4,two,1234567.2\n").records("test")
    assert len({record.video_id for record in records}) == 2


def test_missing_files_are_named(folder, tmp_path):
    folder("video,caption\na.mp4,one\n")
    with pytest.raises(ValueError, match=r"other\.csv: no such file; tables there: captions\.csv"):
        Folder(tmp_path, "other.csv").records("test")
    with pytest.raises(ValueError, match=r"data\.root=.*nowhere: no such folder"):
        Folder(tmp_path / "nowhere", "captions.csv").records("test")
