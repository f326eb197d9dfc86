"""Both ways of the benchmark find the same ranks, and its table has a row for each."""

import pytest
import torch

from retrieval.benchmark import main
from retrieval.efficiency.benchmark.ranks import by_sorting, over_blocks


def test_sorting_and_counting_find_the_same_ranks():
    videos, owner = torch.randn(40, 16), torch.arange(100) * 40 // 100
    captions = videos[owner] + torch.randn(100, 16)
    assert by_sorting(captions, videos, owner).equal(over_blocks(captions, videos, owner))


@pytest.mark.slow
def test_the_benchmark_prints_both_ways(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark", "ranks", "--videos", "30", "--captions", "60"])
    main()
    printed = capsys.readouterr().out
    assert "60 captions by 30 videos" in printed
    assert printed.count("100.0%") == 2
