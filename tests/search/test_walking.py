"""Which files are videos, each once, and what is not known is not said to be gone."""

import os

import pytest

from retrieval.errors import UserError
from retrieval.search.walking import walk


@pytest.fixture
def films(tmp_path):
    for name in ("b.MP4", "a/c.mkv", "a/deep/er/d.webm", "a/notes.txt", "a/code.ts", "a/stream.ts"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"G" + name.encode())
    (tmp_path / "a" / "code.ts").write_text("export const x = 1;")
    return tmp_path


def names(found, root):
    return [os.path.relpath(path, root) for path in found.files]


def test_all_containers_in_all_folders_in_order(films):
    assert names(walk([films]), films) == ["a/c.mkv", "a/deep/er/d.webm", "a/stream.ts", "b.MP4"]


def test_links_that_lead_back_end_and_a_file_counts_once(films):
    (films / "a" / "loop").symlink_to(films)
    (films / "z.mp4").symlink_to(films / "b.MP4")
    (films / "gone.mp4").symlink_to(films / "nowhere.mp4")
    assert names(walk([films, films / "a"]), films) == ["a/c.mkv", "a/deep/er/d.webm", "a/stream.ts", "b.MP4"]


def test_a_file_that_is_named_is_taken_whatever_it_is_called(films):
    assert names(walk([films / "a" / "notes.txt"]), films) == ["a/notes.txt"]


def test_a_name_that_is_no_text_is_told(films):
    with open(os.fsencode(films) + b"/\xff.mp4", "wb"):
        pass
    found = walk([films])
    assert len(found.files) == 4
    assert "rename it" in found.unnamed[0]


def test_what_cannot_be_listed_is_not_gone(films, monkeypatch):
    listed = os.scandir

    def refuse(folder):
        if str(folder).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = walk([films])
    assert found.covers(str(films / "a" / "gone.mp4"))
    assert not found.covers(str(films / "a" / "deep" / "er" / "d.webm"))
    assert not found.covers("/elsewhere/d.webm")


def test_a_disk_that_is_not_there_is_no_empty_folder(tmp_path):
    with pytest.raises(UserError, match="no videos there"):
        walk([tmp_path])
    with pytest.raises(UserError, match="no such folder"):
        walk([tmp_path / "films"])
