"""The command: a folder and a checkpoint to an index, brought up to date by the same command, and killed on the way."""

import json
import shutil
import sys

import pytest

from retrieval.index import main as index
from retrieval.search import Index
from tests.jobs.commands import call, execute, fail
from tests.search.checkpoint import write
from tests.search.conftest import FRAMES


@pytest.mark.slow
def test_the_command_makes_an_index_and_follows_the_folder(encoder, shapes, tmp_path, capsys):
    films, place = tmp_path / "films", tmp_path / "index"
    films.mkdir()
    for record in shapes[:3]:
        shutil.copy(record.path, films)
    checkpoint = write(tmp_path / "tiny.ckpt", encoder.model, {"data.frames": FRAMES, "words": 12})
    where = [f"root={films}", f"index={place}", f"output={tmp_path / 'runs'}", "data.num_workers=0"]
    assert "random weights" in fail(index, capsys, *where)
    assert "engine.cores=0: nothing" in fail(index, capsys, *where, "engine=ray", "engine.cores=0")
    assert not place.exists()
    call(index, *where, f"ckpt_path={checkpoint}", "window=1", "stride=1")
    made = Index.open(place)
    assert len(made.moments) == 6
    assert (made.storage.about.model.frames, made.storage.about.model.weights) == (FRAMES, str(checkpoint))
    (films / shapes[0].path.name).unlink()
    assert "data.num_workers=many: 0 or more processes, or auto" in fail(index, capsys, *where, "data.num_workers=many")
    call(index, *where, "prune=true", "data.num_workers=auto")
    findings = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("runs/index/*/findings.json"))]
    assert [(each["added"], each["unchanged"], each["pruned"]) for each in findings] == [(3, 0, 0), (0, 2, 1)]
    refused = fail(index, capsys, *where, "window=2")
    assert "window=2" in refused
    assert "cut with window=1 stride=1 shots=false" in refused
    assert "this is" in fail(index, capsys, *where, f"ckpt_path={checkpoint}", "data.frames=8")


@pytest.mark.slow
def test_killed_jobs_go_on_to_the_same_index():
    """What `python -m tests.faults.indexing` does, a few times."""
    told = execute([sys.executable, "-m", "tests.faults.indexing", "3", "12"])
    assert "indexing: held 6 of 6" in told
