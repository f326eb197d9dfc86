"""The profile: closed forms against PyTorch's counter and the papers, relative numbers, the job and its mistakes."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from retrieval import load_model
from retrieval.efficiency.profile import Settings
from retrieval.efficiency.profile.candidates import Build, base_source, reducer_configs
from retrieval.efficiency.profile.findings import Profile
from retrieval.efficiency.profile.paper import counted, on_paper, trained_cost
from retrieval.efficiency.profile.peaks import peak_of
from retrieval.efficiency.profile.settings import Case
from retrieval.model.tuning import full, lora
from retrieval.profile import main
from retrieval.reducers import Reducer, TempMe
from retrieval.training.building import plain

CONF = Path(__file__).parents[2] / "conf"
REDUCERS = sorted(path.stem for path in CONF.glob("reducer/*.yaml"))
NONE = {"_target_": "retrieval.reducers.Reducer"}


def composed(*entries, overrides=()):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return reducer_configs(entries, compose("profile", ["run_dir=unused", *overrides]))


def build(reducer, tuning=NONE, optimizer=NONE) -> Build:
    return Build("ViT-tiny-8", reducer, None, tuning, optimizer, frames=12, words=32, device="cpu")


def with_reducer(model, reducer):
    return build(reducer).on(model)


@pytest.fixture(scope="module")
def tiny():
    return load_model("ViT-tiny-8")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in ("none", "chain"))) for name in REDUCERS]
)
def test_the_closed_form_is_what_pytorch_counts(name, tiny):
    model = with_reducer(tiny, composed(name)[name])
    paper, seen = on_paper(model, frames=12, words=32), counted(model, frames=12, words=32)
    assert seen == {f"counted_{tower}": paper[tower] for tower in ("video_gmacs", "text_gmacs")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "tempme", "published"),
    [
        ("ViT-B-32-quickgelu", "tempme", (52.91, 34.84)),
        ("ViT-B-16-quickgelu", {"name": "tempme", "image_merge": 10}, (210.76, 128.04)),
    ],
)
def test_the_published_gmacs(backbone, tempme, published):
    """Without adapters to half a percent; with adapters of rank 8, which TempMe's authors count, to the last digit."""
    model = load_model(backbone)
    (reducer,) = composed(tempme).values()
    models = [with_reducer(model, NONE), with_reducer(model, reducer)]
    gmacs = [on_paper(each, frames=12, words=32)["video_gmacs"] for each in models]
    assert gmacs == pytest.approx(published, rel=0.005)
    assert gmacs[0] == pytest.approx(published[0], abs=0.005)
    adapted = trained_cost(models[1], lora, frames=12, words=32)
    assert adapted["video_gmacs_in_training"] == pytest.approx(published[1], abs=0.005)
    if backbone.startswith("ViT-B-32"):
        assert adapted["trained_parameters"] == 507_648


def test_reducers_stand_on_the_same_weights(tiny):
    other = with_reducer(tiny, {"_target_": "retrieval.reducers.TempMe"})
    ours, theirs = dict(tiny.named_parameters()), dict(other.named_parameters())
    assert all(theirs[name] is weight for name, weight in ours.items())
    assert all(name.startswith("visual.reducer.") for name in theirs.keys() - ours.keys())
    assert (type(tiny.visual.reducer), type(other.visual.reducer)) == (Reducer, TempMe)
    frames = torch.randint(256, (1, 12, 3, 40, 40), dtype=torch.uint8)
    direct = load_model("ViT-tiny-8", TempMe())
    direct.load_state_dict(other.state_dict())
    assert torch.equal(other.encode_video(frames), direct.encode_video(frames))


def test_tuning_one_reducer_leaves_the_others_without_adapters(tiny):
    assert (
        trained_cost(with_reducer(tiny, NONE), lora, 12, 32)["parameters"]
        > (trained_cost(with_reducer(tiny, NONE), full, 12, 32)["parameters"])
    )


def test_a_label_names_the_knobs_that_were_set():
    configs = composed("tempme", {"name": "tempme", "merge_ratio": 0.5}, overrides=["data.frames=24"])
    assert list(configs) == ["tempme", "tempme merge_ratio=0.5"]
    assert [config["merge_ratio"] for config in configs.values()] == [0.3, 0.5]
    assert [config["frames"] for config in configs.values()] == [24, 24]


def test_weights_are_random_unless_asked_for(tmp_path):
    weights = tmp_path / "weights.pt"
    assert base_source("ViT-B-32/openai", None, pretrained=False) == "ViT-B-32"
    assert base_source("ViT-B-32/openai", None, pretrained=True) == "ViT-B-32/openai"
    assert base_source(str(weights), None, pretrained=False) == str(weights)
    assert base_source("ViT-B-32/openai", str(weights), pretrained=False) == str(weights)


def test_numbers_are_relative_to_none_in_the_same_round_and_setting(tmp_path):
    """The machine is twice as slow in the second round; that tells nothing of the reducers."""
    profile = Profile(tmp_path, {})
    for label, gmacs in (("none", 6.0), ("half", 3.0)):
        profile.add_costs(label, {"video_gmacs": gmacs, "clips_at_mlp": [2], "tokens_at_mlp": [5]})
    base, half = Case("none", 4, "fp32", False), Case("half", 4, "fp32", False)
    profile.add_latencies({base: [3.0, 6.0, 3.0], half: [2.0, 4.0, 2.0], Case("half", 4, "bf16", False): [1.0, 1.0]})
    profile.add_peak("inference", base, 200 * 2**20)
    profile.add_peak("inference", half, 150 * 2**20)
    profile.write()
    content = json.loads((tmp_path / "profile.json").read_text())
    row, alone = content["measurements"][1:]
    assert (row["gmac_ratio"], row["speed_up"], row["speed_up_over_gmac_ratio"]) == (2.0, 1.5, 0.75)
    assert (row["seconds"], row["videos_per_second"]) == (2.0, 2.0)
    assert (row["inference_mib"], row["inference_memory_ratio"], row["training_mib"]) == (150.0, 0.75, None)
    assert alone["speed_up"] is alone["speed_up_lower_quartile"] is None


def test_the_speed_up_has_quartiles_over_rounds(tmp_path):
    profile = Profile(tmp_path, {})
    for label in ("none", "half"):
        profile.add_costs(label, {"video_gmacs": 1.0})
    base, half = Case("none", 1, "fp32", False), Case("half", 1, "fp32", False)
    profile.add_latencies({base: [1.0, 2.0, 3.0, 4.0, 5.0], half: [1.0] * 5})
    row = profile.measurements()[1]
    assert [row[f"speed_up{which}"] for which in ("_lower_quartile", "", "_upper_quartile")] == [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "tempme")) for name in REDUCERS]
)
def test_every_reducer_encodes_and_trains_at_bf16(name, tiny, monkeypatch):
    monkeypatch.setattr("retrieval.efficiency.profile.peaks.in_clean_memory", lambda device, call, *given: call(*given))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        optimizer = plain(compose("optimizer/adamw").optimizer)
    tuning = {"_target_": "retrieval.model.tuning.full", "_partial_": True}
    candidate = build(composed(name)[name], tuning, optimizer)
    weights = sum(weight.nbytes for weight in tiny.parameters())
    case = Case(name, 1, "bf16", compiled=False)
    assert peak_of("inference", candidate, case) >= weights // 2
    assert peak_of("training", candidate, case) >= weights  # under autocast they stay as they are


def run(monkeypatch, folder, *overrides):
    place = [f"output={folder}", "name=profile", "backbone=tiny"]
    monkeypatch.setattr(sys, "argv", ["profile", *place, *overrides])
    main()


@pytest.mark.parametrize("memory", [[], pytest.param(["inference", "training"], marks=pytest.mark.slow)])
def test_the_job_writes_tables_json_and_pictures(memory, monkeypatch, tmp_path, capsys):
    run(
        monkeypatch,
        tmp_path,
        "profile.reducers=[none,{name:tempme,image_merge:1}]",
        "profile.batch_sizes=[2]",
        "profile.rounds=2",
        "profile.warmup=1",
        f"profile.memory={memory}",
        "profile.device=cpu",
    )
    (folder,) = (tmp_path / "profile").iterdir()
    printed = capsys.readouterr().out
    content = json.loads((folder / "profile.json").read_text())
    labels = ["none", "tempme image_merge=1"]
    assert [row["reducer"] for row in content["reducers"]] == labels
    assert [(row["batch_size"], row["reducer"]) for row in content["measurements"]] == [(2, label) for label in labels]
    for row in content["measurements"]:
        assert row["seconds_lower_quartile"] <= row["seconds"] <= row["seconds_upper_quartile"]
        assert row["videos_per_second"] == pytest.approx(row["batch_size"] / row["seconds"])
        if memory:
            assert row["training_mib"] > row["inference_mib"] > 0
        assert row["speed_up_lower_quartile"] <= row["speed_up"] <= row["speed_up_upper_quartile"]
        if row["reducer"] == "none":
            ratios = [row[ratio] for ratio in row if ratio.endswith("ratio") or ratio == "speed_up"]
            assert ratios == [1.0] * 3 + [1.0 if memory else None] * 2
    for name in ("profile.json", "tokens.png", "speed_up.png"):
        assert str(folder / name) in printed
        assert (folder / name).is_file()
    assert "measured: batch 2, fp32" in printed
    assert "…" not in printed  # no cell is cut
    assert (folder / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["profile.reducers=[none,nothing]"], "unknown reducer 'nothing'; conf/reducer has chain, "),
        (["profile.reducers=[{name:tempme,merge:1}]"], "tempme has no merge, but frames, join_blocks"),
        (["profile.reducers=[none,none]"], "profile.reducers=['none', 'none']: name one or more, each once"),
        (["profile.precisions=[fp8]"], "profile.precisions: unknown fp8; choose from fp32, bf16, fp16"),
        (["profile.rounds=1"], "profile.rounds=1: one round cannot tell a faster reducer from a busy machine"),
        (["profile.batch_sizes=[0]"], "profile.batch_sizes=[0]: a batch has at least 1 video"),
        (["profile.reducers=[none,kmedoids]", "data.frames=10"], "reducer.num_segments=4 at block 6 does not divide"),
        (["profile.reducers=[none,{name:kmedoids,num_clusters:99}]"], "reducer.num_clusters=99 at block 6, but"),
    ],
)
def test_a_mistake_ends_in_one_line_before_anything_is_measured(overrides, message, monkeypatch, tmp_path):
    monkeypatch.setattr("retrieval.efficiency.profile.running.counted", lambda *_: pytest.fail("measured"))
    with pytest.raises(SystemExit, match=re.escape(message)) as ended:
        run(monkeypatch, tmp_path, *overrides)
    assert str(ended.value).startswith("error: ")
    assert "\n" not in str(ended.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without CUDA")
def test_cuda_where_there_is_none_is_refused():
    knobs = {"batch_sizes": [1], "precisions": ["fp32"], "compile": [False], "memory": []}
    with pytest.raises(ValueError, match=r"set profile\.device=cpu"):
        Settings(["none"], **knobs, device="cuda", rounds=2, warmup=0, pretrained=False)
