"""Moments cut out are the very packets of the film, from a key frame on."""

from pathlib import Path

import av
import numpy as np
import pytest

from retrieval.data.decoder import VideoError, open_pyav
from retrieval.errors import UserError
from retrieval.search.answers import Answer
from retrieval.search.export import cut, export

FPS, KEYS = 10, 12  # frames a second, and from one key frame to the next
CONTAINERS = (".mkv", ".mp4", ".ts")


def write_film(path: Path) -> Path:
    """Five seconds of changing grey with a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width = video.height = 64
        video.pix_fmt, video.options = "yuv420p", {"g": str(KEYS), "bf": "2", "sc_threshold": "0", "threads": "1"}
        sound = container.add_stream("aac", rate=16_000)
        for number in range(5 * FPS):
            picture = np.full((64, 64, 3), 4 * number, np.uint8)
            picture[number % 64] = 255
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
            tone = np.sin(np.arange(1600, dtype=np.float32) / 5)[None] / 4
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, 1600 * number
            container.mux(sound.encode(frame))
        container.mux([*video.encode(), *sound.encode()])
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    return {ending: write_film(folder / f"a film{ending}") for ending in CONTAINERS}


@pytest.fixture(params=CONTAINERS)
def source(films, request) -> Path:
    return films[request.param]


@pytest.fixture
def film(films) -> Path:
    return films[".mkv"]


def test_a_piece_begins_at_the_key_frame_before_and_has_the_same_frames(source, tmp_path):
    target = tmp_path / ("piece.mp4" if source.suffix == ".mp4" else "piece.mkv")
    earlier = cut(source, target, 2.6, 4.0)
    assert earlier == pytest.approx(0.2, abs=0.01), "key frames are 1.2 s apart"
    whole, piece = open_pyav(source), open_pyav(target)
    assert piece.total in range(16, 20)
    assert (piece.read(range(16)) == whole.read(range(24, 40))).all()
    with av.open(str(target)) as container:
        sound = sum(frame.samples for frame in container.decode(audio=0)) / 16_000
    assert sound == pytest.approx(1.6, abs=0.2)


def test_a_piece_at_a_key_frame_begins_there(source, tmp_path):
    assert cut(source, tmp_path / "piece.mkv", 3.6, 4.4) == pytest.approx(0, abs=0.01)
    assert cut(source, tmp_path / "first.mkv", 0.0, 1.0) == 0
    assert open_pyav(tmp_path / "first.mkv").total >= 10


def test_answers_become_files_and_what_cannot_be_cut_a_line(film, tmp_path):
    torn = tmp_path / "torn.mkv"
    torn.write_bytes(film.read_bytes()[:400])
    asked = [Answer(0.9, str(path), 2.6, 4.0, 0.0, ()) for path in (film, torn, tmp_path / "gone.mp4", film)]
    first, second, third, last = export(asked, tmp_path / "pieces")
    assert (first.path.name, last.path.name) == ("001_a_film_0.02.6-0.04.mkv", "004_a_film_0.02.6-0.04.mkv")
    assert str(first).endswith("begins 0.2 s earlier, at a key frame")
    assert "torn.mkv" in second
    assert third.endswith("gone.mp4: no such file")
    assert {path.name for path in (tmp_path / "pieces").iterdir()} == {first.path.name, last.path.name}


def test_a_folder_or_a_codec_that_refuses_is_told(film, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="export=<folder> writes elsewhere"):
        list(export([], tmp_path / "file" / "pieces"))
    with pytest.raises(VideoError, match="cannot be cut without encoding it anew"):
        cut(film, tmp_path / "h264.webm", 2.6, 4.0)
