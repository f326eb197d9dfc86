"""Files are whole or not there: whoever is stopped while writing leaves the file of before."""

import json
import os
from pathlib import Path

import pytest

from retrieval.errors import UserError
from retrieval.files import replacing, write_whole
from retrieval.jobs.files import write, write_json


@pytest.fixture
def file(tmp_path) -> Path:
    write_json(tmp_path / "new" / "value.json", {"before": 1})
    return tmp_path / "new" / "value.json"


def test_a_value_is_written_into_a_new_folder_with_the_modes_of_the_user(file):
    assert json.loads(file.read_text()) == {"before": 1}
    assert file.read_text().endswith("\n")
    mask = os.umask(0)
    os.umask(mask)
    assert file.stat().st_mode & 0o777 == 0o666 & ~mask
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("fails", ["write_text", "fsync", "replace"])
def test_what_was_there_stays_where_writing_stops(file, fails, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path if fails == "write_text" else os, fails, refuse)
    with pytest.raises(UserError, match=r"value\.json: cannot be written \(No space left on device\)"):
        write(file, "after")
    assert json.loads(file.read_text()) == {"before": 1}
    assert list(file.parent.iterdir()) == [file]


def test_readers_see_the_old_file_until_the_new_one_is_on_the_disk(file, monkeypatch):
    synced = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(file.read_text())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(file, "after\n")
    assert json.loads(synced[0]) == {"before": 1}  # the file's own
    assert synced[1:] == ["after\n"]  # the folder's, once it has its name


def test_who_is_interrupted_leaves_nothing_behind(file):
    def interrupted() -> None:
        with replacing(file) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert json.loads(file.read_text()) == {"before": 1}
    assert list(file.parent.iterdir()) == [file]
