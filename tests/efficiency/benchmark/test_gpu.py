"""The GPU's benchmark: its yardstick computes what ours does, it runs where there is no GPU, and its page is right."""

from dataclasses import replace

import pytest
import torch

from retrieval import load_model
from retrieval.benchmark import main
from retrieval.efficiency.benchmark import gpu
from retrieval.efficiency.benchmark.gpu import measuring
from retrieval.efficiency.benchmark.gpu.cases import BF16, COMPILED, GRAPHS, LONG, STAGES, STRAIGHTFORWARD, Case, plan
from retrieval.efficiency.benchmark.gpu.measuring import Result
from retrieval.efficiency.benchmark.gpu.page import page, targets
from retrieval.efficiency.benchmark.materialised import materialise
from retrieval.efficiency.benchmark.straightforward import StraightforwardKMedoids
from retrieval.reducers import KMedoids, TempMe

B16 = "ViT-B-16-quickgelu"


@torch.no_grad()
@pytest.mark.parametrize(("ours", "theirs"), [(TempMe, TempMe), (KMedoids, StraightforwardKMedoids)])
def test_the_straightforward_towers_have_our_features(ours, theirs):
    model = load_model("ViT-tiny-8", ours())
    plain = model.with_reducer(theirs())
    materialise(plain)
    frames, words = torch.randint(256, (1, 12, 3, 40, 40), dtype=torch.uint8), torch.randint(1, 99, (2, 8))
    torch.testing.assert_close(plain.encode_video(frames), model.encode_video(frames), atol=1e-5, rtol=0)
    torch.testing.assert_close(plain.encode_text(words), model.encode_text(words), atol=1e-5, rtol=0)


def test_the_plan_has_every_combination_once_and_graphs_last():
    cases = plan("cuda")
    assert len(set(cases)) == len(cases) == 2 * 3 * 3 * 5 * 2 + 4
    assert [case.way == GRAPHS for case in cases] == [False] * 148 + [True] * 36


def results(factor: float, memory: int) -> list[Result]:
    """What the targets ask for, TempMe `factor` times as fast as unreduced; k-medoids with `memory` of 100 MiB."""
    none = Case(B16, "none", "inference", COMPILED, 32)
    tempme, plain = replace(none, reducer="tempme"), replace(none, reducer="tempme", way=STRAIGHTFORWARD)
    long = Case("ViT-B-32", "none", "training step", BF16, 8, LONG)
    return [
        Result(none, 1.0, 2**20, gmacs=174.0),
        Result(tempme, 1 / factor, 2**20, gmacs=100.0),
        Result(plain, 3 / factor, 2**20, gmacs=100.0),
        Result(long, 1.0, 100 * 2**20, gmacs=10.0),
        Result(replace(long, reducer="kmedoids"), 1.0, memory * 2**20, gmacs=10.0),
    ]


@pytest.mark.parametrize(("factor", "memory", "met"), [(1.74, 60, "yes"), (1.5, 70, "**no**")])
def test_targets_are_judged(factor, memory, met):
    by_target = {name: found for name, *found in targets(results(factor, memory), "cuda")}
    speed_up = next(value for name, value in by_target.items() if "95 %" in name and "compiled" in name)
    assert speed_up == [f"{factor:.2f} x, {factor / 1.74:.0%}", met]
    assert next(value for name, value in by_target.items() if "2.5 x" in name) == ["3.00 x", "yes"]
    assert next(value for name, value in by_target.items() if "65 %" in name) == [f"{memory}%", met]


def test_what_was_not_measured_says_why():
    found = results(1.74, 60)
    found[1] = Result(found[1].case, note="out of memory")
    assert {row[2] for row in targets(found[:3], "cuda")} == {"\N{EN DASH}"}
    text = page(found, {"fp32": 1e4, "bf16": 2e4}, {(2, 50): (1e-3, 2e-3)}, "cpu")
    assert "CUDA was not measured" in text
    assert "| ViT-B-16-quickgelu | inference | 32 | bf16 compiled | tempme | out of memory |" in text
    assert "| 2 x 50 | 1.00 ms | 2.00 ms |" in text
    assert "not on the CPU" in text


def test_a_case_of_each_kind_is_measured_and_late_ones_are_named(monkeypatch, tmp_path, capsys):
    cases = [Case("ViT-tiny-8", "tempme", stage, STRAIGHTFORWARD, 1) for stage in STAGES]
    monkeypatch.setattr(measuring, "SECONDS", 0.0)
    monkeypatch.setattr(gpu, "plan", lambda device: cases)
    for minutes, said in (("5", "videos/s"), ("0", "no time left")):
        monkeypatch.setattr(
            "sys.argv", ["benchmark", "gpu", "--minutes", minutes, "--output", str(tmp_path / "gpu.md")]
        )
        main()
        assert said in (tmp_path / "gpu.md").read_text()
    assert "written to" in capsys.readouterr().out
