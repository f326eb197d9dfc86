"""The server behind the page: the same answers as JSON, files of the index alone, and nothing that takes it down."""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from retrieval.errors import UserError
from retrieval.search import Filters, Index
from retrieval.search.page.app import build_app, listening, server
from retrieval.search.page.desk import Desk
from retrieval.search.page.guard import LARGEST
from retrieval.search.page.layout import as_html
from tests.search.films import build_index, write_films

HOSTILE = "<img src=x onerror=alert(1)> {{7*7}} ${7*7}.mp4"
FILMS = ("a.mp4", "folder/b.mp4", HOSTILE, "changed.mp4")


@pytest.fixture(scope="module")
def index(encoder, tmp_path_factory) -> Index:
    folder = tmp_path_factory.mktemp("served")
    write_films(folder / "films", FILMS)
    made = build_index(folder, encoder)
    with (folder / "films" / "changed.mp4").open("ab") as file:
        file.write(b"more")
    (folder / "films" / "secret.txt").write_text("secret")
    return made


@pytest.fixture(scope="module")
def client(index) -> Iterator[httpx.Client]:
    """Speaks with a real server, so that what HTTP itself refuses is refused too."""
    listener = listening("127.0.0.1", 0)
    running = server(build_app(Desk(index), "films", "127.0.0.1"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
        while not running.started:
            time.sleep(0.02)
        yield client
    running.should_exit = True
    thread.join(10)


def number_of(index: Index, name: str) -> int:
    return next(moment.number for moment in index.moments if moment.path.endswith(name))


def test_answers_are_those_of_python(client, index):
    expected = index.search("a red circle", top=3)
    for answer in (
        client.get("/api/search", params={"query": "a red circle", "top": 3}),
        client.post("/api/search", json={"query": "a red circle", "top": 3}),
    ):
        found = answer.json()["answers"]
        assert [(each["path"], each["start"], each["end"]) for each in found] == [
            (each.path, each.start, each.end) for each in expected
        ]
        assert [each["score"] for each in found] == [pytest.approx(each.score, abs=1e-6) for each in expected]
        assert [each["number"] for each in found] == [each.moments[0].number for each in expected]


def test_filters_and_more_like_this(client, index):
    only = client.get("/api/search", params={"query": "a", "path": "*/b.mp4"}).json()["answers"]
    assert {Path(each["path"]).name for each in only} == {"b.mp4"}
    assert client.get("/api/search", params={"query": "a", "before": "2001-01-01"}).json()["answers"] == []
    number = number_of(index, "a.mp4")
    like = client.get("/api/search", params={"like": number, "top": 50}).json()["answers"]
    moment = index.moments[number]
    assert like
    assert not [each for each in like if each["path"] == moment.path and each["start"] < moment.end]


def test_a_video_is_served_in_ranges_by_the_number_of_its_moment(client, index):
    number = number_of(index, "a.mp4")
    content = Path(index.moments[number].path).read_bytes()
    whole = client.get(f"/media/{number}/video")
    assert (whole.content, whole.headers["content-type"]) == (content, "video/mp4")
    part = client.get(f"/media/{number}/video", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(content)}"
    assert client.get(f"/media/{number}/picture").content[:3] == b"\xff\xd8\xff"


def test_the_tokens_of_a_moment_are_drawn(client, index, monkeypatch):
    drawn = client.get(f"/media/{number_of(index, 'a.mp4')}/tokens")
    assert drawn.content[:8] == b"\x89PNG\r\n\x1a\n"
    monkeypatch.setattr("retrieval.search.page.desk.draw_reduction", lambda model, frames: None)
    assert client.get(f"/media/{number_of(index, 'a.mp4')}/tokens").status_code == 204, "a reducer that merges nothing"


def test_a_file_that_is_another_by_now_is_not_served(client, index):
    number = number_of(index, "changed.mp4")
    assert client.get(f"/media/{number}/video").status_code == 410
    assert client.get(f"/media/{number}/picture").status_code == 200, "the index's own"


@pytest.mark.parametrize(
    "path",
    [
        "/media/../films/secret.txt",
        "/media/%2e%2e/%2e%2e/etc/passwd",
        "/media/0/../../etc/passwd",
        "/media//etc/passwd",
        "/media/0/video/../../../secret.txt",
        "/media/99999/video",
        "/media/-1/video",
        "/media/0x1/video",
        "/static/../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/svelte/../../../etc/passwd",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file={films}/secret.txt",
        "/gradio_api/file={films}/a.mp4",
        "/file={films}/a.mp4",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/stream/a/b/c/playlist.m3u8",
        "/gradio_api/custom_component/a/client/b/c.js",
        "/monitoring",
        "/docs",
    ],
)
def test_no_path_of_a_request_is_opened(client, index, path):
    films = str(Path(index.moments[0].path).parent)
    request = client.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=path.replace("{films}", films).encode())
    answer = client.send(request)
    assert answer.status_code in (400, 403, 404), answer.status_code
    assert "root:" not in answer.text
    assert "secret" not in answer.text


def test_uploads_and_other_ways_of_gradio_are_closed(client):
    assert client.post("/gradio_api/upload", files={"files": b"x"}).status_code == 404
    assert client.post("/gradio_api/run/predict", json={}).status_code == 404


@pytest.mark.parametrize("name", ["http://192.0.2.1/film.mp4", "/etc/passwd"])
def test_no_file_and_no_address_is_asked_with(client, name):
    """Gradio takes such a value for a file of the user's, whatever the component, and downloads it."""
    file = {"path": name, "meta": {"_type": "gradio.FileData"}}
    event = {"data": [file, "", "", "", None, 12], "fn_index": 0, "session_hash": "a"}
    answer = client.post("/gradio_api/queue/join", json=event)
    assert (answer.status_code, answer.json()) == (400, {"error": "the page asks with words and numbers alone"})
    event["data"][0] = "a red circle"
    assert client.post("/gradio_api/queue/join", json=event).status_code == 200


@pytest.mark.parametrize("path", ["/api/search", "/gradio_api/queue/join"])
def test_ten_megabytes_are_refused(client, path):
    query = "a" * 10_000_000
    assert client.post(path, json={"query": query}).status_code == 413
    assert client.post(path, content=(b"a" * 100_000 for _ in range(100))).status_code == 413, "a length is not told"
    assert client.post("/api/search", json={"query": "a red circle"}).status_code == 200


def test_ten_megabytes_of_address_are_refused(client):
    assert client.get("/api/search?query=" + "a" * 60_000).status_code == 414
    place = (client.base_url.host, client.base_url.port)
    with socket.create_connection(place, timeout=10) as line, suppress(ConnectionError):  # hung up on as it still sends
        line.sendall(b"GET /api/search?query=" + b"a" * 10_000_000 + b" HTTP/1.1\r\n\r\n")
        assert line.recv(12) in (b"HTTP/1.1 400", b"")
    assert client.get("/api/search?query=a").status_code == 200


def test_a_long_query_is_cut_and_says_so(client):
    answer = client.post("/api/search", json={"query": "a red circle " * 50_000}).json()
    assert answer["answers"]
    assert any("650,000 letters" in note for note in answer["notes"])
    assert LARGEST > 650_000


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        ({"query": "  "}, "the query is empty"),
        ({"query": "a", "top": "many"}, "top"),
        ({"query": "a", "top": 0}, "top=0"),
        ({"query": "a", "top": 10_000}, "top=10000"),
        ({"query": "a", "after": "yesterday"}, "after=yesterday"),
        ({"query": "a", "file": "/etc/passwd"}, "file"),
        ({"like": 99_999}, "no moment 99999"),
        ({"like": -1}, "no moment -1"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(client, asked, cause):
    for answer in (client.get("/api/search", params=asked), client.post("/api/search", json=asked)):
        assert answer.status_code == 400
        assert cause in answer.json()["error"]


def test_another_name_for_this_machine_is_refused(client):
    """A page elsewhere could have its own name point here (DNS rebinding)."""
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/", headers={"Host": "localhost:1234"}).status_code == 200


def test_fifty_questions_at_once_are_answered_alike(client, index):
    expected = {query: [each.path for each in index.search(query, 2)] for query in ("red", "blue", "up", "a star")}
    queries = [*expected] * 13
    with ThreadPoolExecutor(len(queries)) as pool:
        answers = [*pool.map(lambda query: client.get("/api/search", params={"query": query, "top": 2}), queries)]
    for query, answer in zip(queries, answers, strict=True):
        assert answer.status_code == 200
        assert [each["path"] for each in answer.json()["answers"]] == expected[query]


def test_script_in_names_and_queries_is_text(index):
    desk = Desk(index)
    written = as_html(desk.ask("</script><script>alert(1)</script>{{value}}", 50, Filters()))
    assert "&lt;script&gt;alert(1)" in written
    assert "onerror=alert(1)&gt;" in written
    inside = re.sub(r"<(?:img loading|img alt|button|li|span|p|ol|section|video|div|h2|figure|/)[^>]*>", "", written)
    assert "<" not in inside
    assert not set("{}$`") & set(written)


def test_a_port_that_is_taken_and_a_foreign_address_are_told():
    with listening("127.0.0.1", 0) as taken, pytest.raises(UserError, match="port=0 takes a free one"):
        listening("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UserError, match=r"host=192\.0\.2\.1"):
        listening("192.0.2.1", 0)


def test_the_page_needs_its_extra(monkeypatch, capsys, tmp_path):
    from retrieval.serve import main
    from tests.jobs.commands import fail

    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    monkeypatch.chdir(tmp_path)
    assert 'pip install "/path/to/this/repository[search]"' in fail(main, capsys, "index=films")
    assert not os.listdir(tmp_path)
