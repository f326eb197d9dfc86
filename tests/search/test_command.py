"""`python -m retrieval.search`: every way to ask, and every form that answers have."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from retrieval.data.decoder import open_pyav
from retrieval.jobs.typed import as_typed
from retrieval.search import Index
from retrieval.search.__main__ import TEXTS, main
from tests.jobs.commands import call, fail
from tests.search.films import build_index, write_films

HOSTILE = "a <script>alert(1)<b> film.mp4"


@pytest.fixture(scope="module")
def place(encoder, tmp_path_factory) -> Path:
    """A folder with `films` and `index`; the same scenes are in two of the films."""
    folder = tmp_path_factory.mktemp("own")
    write_films(folder / "films", ("a.mp4", "sub/b.mp4", HOSTILE))
    (folder / "films" / "copy.mp4").write_bytes((folder / "films" / "a.mp4").read_bytes())
    build_index(folder, encoder)
    return folder


@pytest.fixture(scope="module")
def index(place) -> Index:
    """The index as a command opens it."""
    return Index.open(place / "index")


@pytest.fixture
def search(place, index, capsys, monkeypatch):
    """Run the command; returns what it prints. The index is opened once for all."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(Index, "open", lambda address: index)

    def run(*arguments: str) -> str:
        capsys.readouterr()
        call(main, "index=index", *arguments)
        return capsys.readouterr().out

    return run


def test_a_table_a_json_and_a_csv_tell_the_answers_of_python(index, search):
    expected = [(each.path, each.start, each.end) for each in index.search("a red ring", 3)]
    told = json.loads(search("query=a red ring", "top=3", "format=json"))
    assert [(each["path"], each["start"], each["end"]) for each in told[0]["answers"]] == expected
    rows = [*csv.DictReader(search("query=a red ring", "top=3", "format=csv").splitlines())]
    assert [(row["path"], float(row["start"]), float(row["end"])) for row in rows] == expected
    assert {row["query"] for row in rows} == {"a red ring"}
    table = search("query=a red ring", "top=3")
    lines = [line for line in table.splitlines() if ".mp4" in line]
    assert [re.search(r"/\S.*\.mp4", line)[0] for line in lines] == [path for path, _, _ in expected]
    assert "a red ring" in table


def test_questions_are_taken_as_they_are_typed(search):
    """By Hydra's grammar, and through OmegaConf, which has a syntax of its own."""
    queries = (
        "what's that, a [red] (ring)?",
        "${seed}: a=b {c}",
        "back\\slash 'quoted'\\",
        "null's",
        "42",
        "a #1",
        "x: y",
    )
    for query in queries:
        (override,) = OverridesParser.create().parse_overrides(as_typed([f"query={query}"], TEXTS))
        assert OmegaConf.create({"query": override.value()}).query == query
    as_it_is = ["query='a, b'", "top=3", "path=null", "query="]
    assert as_typed(as_it_is, TEXTS) == as_it_is
    assert json.loads(search(f"query={queries[0]}", "format=json"))[0]["query"] == queries[0]


def test_filters_leave_answers_out(search):
    def names(*arguments: str) -> set[str]:
        return {
            Path(each["path"]).name for each in json.loads(search("query=a", "format=json", *arguments))[0]["answers"]
        }

    assert names() == {"a.mp4", "b.mp4", "copy.mp4", HOSTILE}
    assert names("path=sub/") == names("path=*/b.*") == {"b.mp4"}
    assert names("after=2001-01-31", "before=2100-01-01T12:00") == names()
    assert names("before=2001-01-31") == names("min_score=1.01") == set()


def test_several_queries_come_from_a_file(search, tmp_path):
    (tmp_path / "queries.txt").write_text("a red ring\na blue star\n")
    told = json.loads(search(f"queries={tmp_path / 'queries.txt'}", "top=1", "format=json"))
    assert [(each["query"], len(each["answers"])) for each in told] == [("a red ring", 1), ("a blue star", 1)]


def test_a_video_finds_its_copy_and_not_itself(place, search):
    film = place / "films" / "a.mp4"
    (told,) = json.loads(search(f"like={film}", "like_start=2", "like_end=4", "top=1", "format=json"))
    (answer,) = told["answers"]
    assert (Path(answer["path"]).name, answer["score"]) == ("copy.mp4", pytest.approx(1, abs=1e-5))
    assert answer["start"] <= 2 <= 4 <= answer["end"]


def test_copies_are_groups(place, search, tmp_path):
    saved = tmp_path / "groups.csv"
    groups = json.loads(search("duplicates=0.99999", "format=json", f"save={saved}"))
    films = str(place / "films")
    copied = [
        group for group in groups if {Path(each["path"]).name for each in group["places"]} == {"a.mp4", "copy.mp4"}
    ]
    assert {each["path"] for each in copied[0]["places"]} == {f"{films}/a.mp4", f"{films}/copy.mp4"}
    assert copied[0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert saved.read_text().startswith("group,similarity,path,start,end\n1,")
    assert "copy.mp4" in search("duplicates=0.99999")


class Page(HTMLParser):
    """The elements of a page, and what can be loaded or run from it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)


def test_a_page_is_saved_with_pictures_and_links_to_the_moments(place, search, tmp_path):
    saved = tmp_path / "new" / "answers.html"
    assert str(saved) in search("query=<img src=x onerror=alert(1)>", f"save={saved}")
    page = Page(saved.read_text())
    assert "script" not in page.tags
    answers = json.loads(search("query=a", "format=json"))[0]["answers"]
    assert page.tags.count("img") == page.tags.count("li") == len(answers)
    assert "&lt;img src=x onerror=alert(1)&gt;" in saved.read_text()
    links = [link for link in page.links if link.startswith("file:///")]
    assert len(links) == len(answers)
    assert all(re.search(r"\.mp4#t=[\d.]+,[\d.]+$", link) for link in links)
    assert (place / "films" / "a.mp4").as_uri() in {link.partition("#")[0] for link in links}
    assert all(link.startswith(("file:///", "data:image/jpeg;base64,")) for link in page.links)


def test_answers_are_cut_out(search, tmp_path):
    told = search("query=a", "top=2", f"export={tmp_path / 'pieces'}")
    pieces = sorted((tmp_path / "pieces").iterdir())
    assert len(pieces) == 2
    assert all(str(piece) in told for piece in pieces)
    assert all(open_pyav(piece).total >= 24 for piece in pieces)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ([], "nothing is asked"),
        (["query=a", "like=b.mp4"], "query and like are several"),
        (["query=a", "duplicates=0.9"], "query and duplicates are several"),
        (["query=a", "format=xml"], "format=xml"),
        (["query=a", "save=a.pdf"], "save=a.pdf: its ending names no known kind; choose one of .html, .json, .csv"),
        (["duplicates=0.9", "save=a.html"], "choose one of .json, .csv"),
        (["duplicates=0.9", "export=pieces"], "leave one of them out"),
        (["duplicates=9"], "duplicates=9"),
        (["query=a", "like_start=1"], "give like=<video>"),
        (["query=a", "top=0"], "top=0"),
        (["query=a", "top=many"], "top=many: not a whole number"),
        (["query=a", "min_score=high"], "min_score=high: not a number"),
        (["query=a", "after=soon"], "after=soon"),
        (["queries=gone.txt"], "queries=gone.txt"),
        (["like=gone.mp4"], "like=gone.mp4"),
        (["query=a", "index=gone"], "gone: no such folder"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(place, capsys, monkeypatch, arguments, cause):
    monkeypatch.chdir(place)
    said = fail(main, capsys, "index=index", *arguments)
    assert cause in said
    assert len(said.strip().splitlines()) == 1
