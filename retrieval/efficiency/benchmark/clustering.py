"""Our clustering beside the published procedure: time, peak memory, and whether the medoids agree."""

from argparse import Namespace
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from rich.table import Table
from torch import Tensor

from retrieval.efficiency.benchmark import straightforward
from retrieval.efficiency.benchmark.measurement import Measurement, measure
from retrieval.jobs.announcing import tell
from retrieval.reducers.clustering import k_medoids, spectral_clusters

DIM = 768  # of the tokens of ViT-B


@dataclass(frozen=True)
class Case:
    """A batch of segments: `segments` x `points` into `clusters`, by k-medoids or by spectral clustering."""

    method: str
    segments: int
    points: int
    clusters: int

    def __str__(self) -> str:
        return f"{self.method} {self.segments} x {self.points} into {self.clusters}"


CASES = [Case("k-medoids", 96, 98, 49), Case("k-medoids", 16, 784, 160), Case("spectral", 64, 147, 49)]


def run(arguments: Namespace) -> None:
    """Measure all cases and print the table."""
    default = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in [arguments.device] if arguments.device else default:
        tell(table(CASES, device, arguments.repeat))


def table(cases: list[Case], device: str, repeat: int) -> Table:
    """A row per case; both implementations run on the same points, each in a process of its own."""
    result = Table(title=f"Clustering of {DIM}-dimensional tokens on {device} ({torch.get_num_threads()} CPU threads)")
    result.add_column("case")
    for column in ("time", "published", "ratio", "memory", "published", "ratio", "medoids"):
        result.add_column(column, justify="right")
    for case in cases:
        points = torch.randn(case.segments, case.points, DIM, generator=torch.Generator().manual_seed(0))
        points *= 2 / DIM**0.5  # distances near sigma, where the heat kernel tells points apart
        ours, theirs = (
            (spectral, straightforward.spectral) if case.method == "spectral" else (medoids, straightforward.k_medoids)
        )
        result.add_row(
            *row(
                case,
                measure(ours, points, case.clusters, device=device, repeat=repeat),
                measure(theirs, points, case.clusters, device=device, repeat=repeat),
            )
        )
    return result


def row(case: Case, ours: Measurement, published: Measurement) -> list[str]:
    """The cells of a case."""
    same = "all tie" if case.method == "spectral" else f"{agreement(ours.result, published.result):.0%}"
    return [
        str(case),
        f"{ours.seconds:.2f} s",
        f"{published.seconds:.2f} s",
        f"{published.seconds / ours.seconds:.0f}",
        f"{ours.peak_bytes / 2**20:.0f} MiB",
        f"{published.peak_bytes / 2**20:.0f} MiB",
        f"{published.peak_bytes / max(ours.peak_bytes, 1):.0f}",
        same,
    ]


def medoids(points: Float[Tensor, "batch point dim"], clusters: int) -> Int[Tensor, "batch cluster"]:
    """Ours, by k-medoids."""
    return k_medoids(points, clusters).medoids


def spectral(points: Float[Tensor, "batch point dim"], clusters: int) -> Int[Tensor, "batch cluster"]:
    """Ours, by spectral clustering."""
    return spectral_clusters(points, clusters).medoids


def agreement(ours: Int[Tensor, "batch cluster"], published: Int[Tensor, "batch cluster"]) -> float:
    """Share of medoids that are the same."""
    return (ours == published).float().mean().item()
