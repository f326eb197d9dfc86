"""The benchmark's yardstick does what ours does, and its table has a row per case."""

import pytest
import torch
from rich.console import Console

from retrieval.efficiency.benchmark import straightforward
from retrieval.efficiency.benchmark.clustering import Case, table
from retrieval.reducers.clustering import k_medoids


@pytest.mark.parametrize(("points", "clusters"), [(60, 7), (210, 20)])
def test_the_straightforward_implementation_finds_the_same_medoids(points, clusters):
    x = torch.randn(20, points, 32)
    assert torch.equal(straightforward.k_medoids(x, clusters), k_medoids(x, clusters).medoids)


@pytest.mark.slow
def test_a_small_table_is_measured(capsys):
    Console(width=120).print(table([Case("k-medoids", 2, 20, 5), Case("spectral", 2, 20, 5)], "cpu", repeat=1))
    printed = capsys.readouterr().out
    assert "k-medoids 2 x 20 into 5" in printed
    assert "100%" in printed
    assert "spectral 2 x 20 into 5" in printed
