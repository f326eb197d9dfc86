"""Indexing on Ray: two simulated machines give the index that this process gives, also when one of them dies."""

from pathlib import Path

import pytest
import torch

from retrieval.data.decoder import VideoFile, open_pyav
from retrieval.errors import UserError
from retrieval.search import Index, adding
from retrieval.search.cluster import RayEngine, _check_there
from retrieval.search.cutting import Cut
from retrieval.search.encoding import Shard
from retrieval.search.walking import Found
from tests.search.films import write_films

FILMS = 12


def machine(cores, gpus=0.0, is_alive=True):
    return {"Alive": is_alive, "Resources": {"CPU": cores, "GPU": gpus}}


def test_actors_leave_a_core_on_every_machine():
    nodes = [machine(9.0), machine(4.0), machine(64.0, is_alive=False)]
    assert RayEngine(cores=2)._room(nodes) == (0.0, 5)
    assert RayEngine(cores=2, actors=3)._room(nodes) == (0.0, 3)
    assert RayEngine(cores=2)._room([*nodes, machine(32.0, 4.0)]) == (1.0, 4)
    assert RayEngine(cores=2, gpus=0.5)._room([machine(9.0, 4.0)]) == (0.5, 4)


def test_a_cluster_without_room_is_refused():
    with pytest.raises(UserError, match=r"engine.cores=2 engine.gpus=0: no machine has room .* 2 cores and 0 GPUs"):
        RayEngine(cores=2)._room([machine(2.0)])


@pytest.mark.parametrize("knobs", [{"actors": 0}, {"cores": 0}, {"cores": -1}, {"gpus": -0.5}])
def test_impossible_numbers_are_refused(knobs):
    with pytest.raises(UserError, match=f"engine.{next(iter(knobs))}="):
        RayEngine(**knobs)


def test_a_machine_that_sees_no_file_of_a_shard_lists_none_as_broken(tmp_path):
    there = tmp_path / "there.mp4"
    there.touch()
    _check_there(Shard(0, (Found(str(there), 0, 0.0), Found("/gone.mp4", 0, 0.0))))
    with pytest.raises(UserError, match=r"/gone.mp4: not there on .*all machines must see"):
        _check_there(Shard(0, (Found("/gone.mp4", 0, 0.0),)))


class Noting:
    """Opens videos, and notes on which machine."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def __call__(self, path: Path) -> VideoFile:
        import ray

        with self.notes.open("a") as notes:
            notes.write(f"{ray.get_runtime_context().get_node_id()} {path}\n")
        return open_pyav(path)

    def machines(self) -> list[str]:
        return [line.split()[0] for line in self.notes.read_text().splitlines()]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write_films(folder, [f"{number}.mp4" for number in range(FILMS)], 1)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def alone(films, encoder, tmp_path_factory):
    """What one process makes of the films."""
    index = Index.create(tmp_path_factory.mktemp("alone") / "index", encoder, Cut(1.0, 0.5))
    index.add(films, batch_size=4, workers=0, open=open_pyav)
    return index


@pytest.fixture
def cluster():
    utilities = pytest.importorskip("ray.cluster_utils")
    cluster = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def check_equal(index: Index, other: Index) -> None:
    assert index.files == other.files
    assert list(index.moments) == list(other.moments)
    assert index.storage.count() == len(other.moments)
    torch.testing.assert_close(index.vectors, other.vectors, rtol=0, atol=1e-6)  # the number of threads differs
    assert index.thumbnails(list(index.moments)) == other.thumbnails(list(other.moments))


@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True])
def test_two_machines_give_the_same_index(dies, cluster, films, alone, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(adding, "SHARD", 2)
    second = cluster.add_node(num_cpus=2)
    noting, engine = Noting(tmp_path / "opened"), RayEngine(cluster.address, cores=1)

    def losing(encoder, shards, reading, tell):
        for number, rows in enumerate(engine(encoder, shards, reading, tell)):
            if dies and number == 1:
                cluster.remove_node(second, allow_graceful=False)
            yield rows

    index = Index.create(tmp_path / "index", encoder, Cut(1.0, 0.5))
    summary = index.add(films, batch_size=4, workers=1, open=noting, engine=losing)
    check_equal(index, alone)
    assert (summary.added, list(summary.broken)) == (FILMS + 1, [str(films / "broken.mp4")])
    assert len(set(noting.machines())) == 2


def refuse(path: Path) -> VideoFile:
    raise RuntimeError(f"no reader for {path.name}")


@pytest.mark.slow
def test_what_fails_in_an_actor_is_told_in_one_line(films, encoder, tmp_path):
    pytest.importorskip("ray")
    index = Index.create(tmp_path / "index", encoder, Cut(1.0, 0.5))
    with pytest.raises(UserError, match=r"^engine=ray: .*no reader for .*; the same command goes on") as error:
        index.add(films, batch_size=4, workers=0, open=refuse, engine=RayEngine(cores=1))
    assert "\n" not in str(error.value)
    index.add(films / "1.mp4", workers=0, open=open_pyav)
    assert len(index.files) == 1
