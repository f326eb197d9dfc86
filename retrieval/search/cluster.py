"""Indexing on many machines: Ray Data hands shards to actors with the model, and their rows come back to be written.

A shard is a row of the dataset, and what an actor makes of it does not depend on the actor. Ray does the shards of a
lost machine again on those that are left; what has come back of them by then is not given out a second time.
"""

import logging
import os
import pickle
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from retrieval.data.loading import worker_count
from retrieval.errors import UserError
from retrieval.search.encoder import Encoder
from retrieval.search.encoding import Shard, Tell, encode_shards
from retrieval.search.lance import first_line
from retrieval.search.reading import Piece, Reading
from retrieval.search.rows import MomentRows
from retrieval.search.walking import Found

INSTALL = 'pip install "/path/to/this/repository[ray]"'
MOST_BLOCKS = 10_000
"""Pieces of the dataset, of a shard each while there are no more shards: Ray keeps an account of each."""

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Nothing is reported to Ray's makers, and on this screen are our own lines alone."""


@dataclass(frozen=True)
class RayEngine:
    """What encodes shards on a cluster, in place of `encode_shards`.

    Args:
        address: of the cluster's head; None: RAY_ADDRESS, or else Ray is started on this machine, for this job.
        actors: processes that hold the model; None: as many as there is room for.
        cores: of each of them.
        gpus: of each of them, also a share of one; None: 1 where the cluster has any.

    Raises:
        UserError: a number with which nothing can be done.
    """

    address: str | None = None
    actors: int | None = None
    cores: int = 2
    gpus: float | None = None

    def __post_init__(self) -> None:
        for knob, fewest in (("actors", 1), ("cores", 1), ("gpus", 0)):
            given = getattr(self, knob)
            if given is not None and given < fewest:
                raise UserError(f"engine.{knob}={given}: nothing can be encoded with that")

    def __call__(
        self, encoder: Encoder, shards: Sequence[Shard], reading: Reading, tell: Tell | None = None
    ) -> Iterator[list[MomentRows]]:
        """The rows of each shard, in the order in which they are done.

        Raises:
            UserError: Ray is not installed or not to be reached, the cluster has no room for an actor, a machine does
                not see the videos, or an actor failed.
        """
        if not shards:
            return
        with _cluster(self.address) as ray:
            gpus, actors = self._room(ray.nodes())
            for item in self._dataset(ray, encoder, shards, reading, gpus, min(actors, len(shards))).iter_rows():
                rows: list[MomentRows] = pickle.loads(item["rows"])
                if tell is not None:
                    for row in (each.file for each in rows):
                        tell(Found(row.path, *row.signature), Piece(0, seconds=row.seconds, is_last=True))
                yield rows

    def _room(self, nodes: Sequence[Mapping[str, Any]]) -> tuple[float, int]:
        """GPUs of an actor, and how many actors there are to be."""
        there = [node["Resources"] for node in nodes if node["Alive"]]
        gpus = float(any(node.get("GPU") for node in there)) if self.gpus is None else self.gpus
        room = sum(self._fit(node, gpus) for node in there)
        if not room:
            told = ", ".join(f"{node.get('CPU', 0):g} cores and {node.get('GPU', 0):g} GPUs" for node in there)
            raise UserError(
                f"engine.cores={self.cores:g} engine.gpus={gpus:g}: no machine has room for an actor and a core to "
                f"spare; the cluster's have {told}"
            )
        return gpus, min(self.actors or room, room)

    def _fit(self, node: Mapping[str, float], gpus: float) -> int:
        """Actors that a machine holds: with all its cores taken, Ray would wait for ever for one for itself."""
        by_cores = (node.get("CPU", 0) - 1) // self.cores
        return max(0, int(min(by_cores, node.get("GPU", 0) // gpus) if gpus else by_cores))

    def _dataset(
        self, ray: Any, encoder: Encoder, shards: Sequence[Shard], reading: Reading, gpus: float, actors: int
    ) -> Any:
        items = [{"shard": pickle.dumps(shard)} for shard in shards]
        model = ray.put((encoder.to(torch.device("cpu")), reading))
        return ray.data.from_items(items, override_num_blocks=min(len(items), MOST_BLOCKS)).map_batches(
            _Actor,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
            fn_constructor_args=(model,),
            num_cpus=self.cores,
            num_gpus=gpus,
        )


class _Actor:
    """A process of the cluster that holds the model.

    Args:
        model: where Ray keeps the encoder and how it reads.
    """

    def __init__(self, model: Any) -> None:
        import ray

        self.encoder, self.reading = ray.get(model)
        self.encoder.to(torch.device("cuda" if ray.get_gpu_ids() else "cpu"))

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        """The rows of these shards, in their order: when Ray does a block again, it skips as many as it has had."""
        shards: list[Shard] = [pickle.loads(each) for each in batch["shard"]]
        for shard in shards:
            _check_there(shard)
        done: dict[str, list[MomentRows]] = {}
        for rows in encode_shards(self.encoder, shards, self.reading):
            done[rows[0].file.path] = rows
            while shards and (first := shards[0].files[0].path) in done:
                yield {"rows": [pickle.dumps(done.pop(first))]}
                shards.pop(0)


def _check_there(shard: Shard) -> None:
    """Raise UserError where this machine sees none of a shard's files: it would list them all as broken."""
    if not any(os.path.exists(file.path) for file in shard.files):
        raise UserError(
            f"{shard.files[0].path}: not there on {socket.gethostname()}; all machines must see the videos under "
            "the same paths"
        )


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected; what was started for this job ends with it, and listens on this machine alone.

    Raises:
        UserError: Ray is not installed or not to be reached, or an actor failed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray.data
    except ImportError as error:
        raise UserError(f"engine=ray needs Ray Data: {INSTALL} ({error})") from error
    is_ours = not ray.is_initialized()
    try:
        if is_ours:
            _connect(ray, address)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise UserError(f"engine=ray: {_cause(error)}; the same command goes on with what was not written") from error
    finally:
        if is_ours:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, **quiet)
    else:  # one of our own, whatever runs here; with a core more than there is, which Ray wants for itself
        own = {"address": "local", "_node_ip_address": "127.0.0.1", "include_dashboard": False}
        ray.init(num_cpus=worker_count("auto") + 1, **own, **quiet)


def _cause(error: BaseException) -> str:
    """What went wrong in the innermost of the errors that Ray wraps into each other."""
    inner = getattr(error, "cause", None) or error.__cause__
    return first_line(error) if inner is None else _cause(inner)
