"""The profile: closed forms against PyTorch's counter and the papers, relative numbers, the job and its mistakes."""

import json
import re
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from retrieval import load_model
from retrieval.efficiency.profile import Settings
from retrieval.efficiency.profile.candidates import Build, base_source, option_configs, tunings
from retrieval.efficiency.profile.findings import Profile
from retrieval.efficiency.profile.fits import largest_batches
from retrieval.efficiency.profile.paper import counted, on_paper, trained_cost
from retrieval.efficiency.profile.peaks import peak_of
from retrieval.efficiency.profile.settings import Case
from retrieval.efficiency.profile.training import training_calls
from retrieval.model.tuning import full, lora
from retrieval.profile import main
from retrieval.reducers import Reducer, TempMe
from retrieval.training.building import plain

CONF = Path(__file__).parents[2] / "conf"
REDUCERS = sorted(path.stem for path in CONF.glob("reducer/*.yaml"))
NONE = {"_target_": "retrieval.reducers.Reducer"}
FULL = {"_target_": "retrieval.model.tuning.full", "_partial_": True}


def composed(*entries, overrides=()):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return option_configs("reducer", entries, compose("profile", ["run_dir=unused", *overrides]))


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


B16 = {"name": "tempme", "image_merge": 10, "merge_ratio": 0.4, "intra_merge_ratio": 0.2}
JOINED = {"name": "tempme", "image_merge": 0, "merge_ratio": 0.0, "intra_merge_ratio": 0.0}


@pytest.mark.parametrize(
    ("backbone", "reducer", "tokens", "tower", "own", "published"),
    [
        ("ViT-B-32-quickgelu", "none", 12 * 50, 53.08, 0.0, 53.0),
        ("ViT-B-32-quickgelu", JOINED, 600, 54.28, 0.0, 54.3),
        ("ViT-B-32-quickgelu", "tempme", 97, 34.83, 0.02, 34.8),
        ("ViT-B-16-quickgelu", "none", 12 * 197, 211.46, 0.0, 211.3),
        ("ViT-B-16-quickgelu", B16, 127, 121.56, 0.15, 121.4),
    ],
)
def test_the_figures_of_tempmes_tables_with_adapters(backbone, reducer, tokens, tower, own, published):
    """The tower's GMACs are the paper's GFLOPs to 0.17; the similarities of the matchings are told apart from them."""
    (config,) = composed(reducer).values()
    with torch.device("meta"):  # sizes alone count
        costs = trained_cost(with_reducer(load_model(backbone), config), lora, frames=12, words=32)
    assert costs["output_tokens"] == tokens
    assert (round(costs["tower_gmacs"], 2), round(costs["reducer_gmacs"], 2)) == (tower, own)
    assert costs["tower_gmacs"] == pytest.approx(published, abs=0.17)
    assert costs["video_gmacs"] == pytest.approx(costs["tower_gmacs"] + costs["reducer_gmacs"], abs=2e-4)
    if reducer == "tempme":
        assert costs["trained_parameters"] == 507_648
        assert round(costs["video_gmacs"], 2) == 34.84


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


def test_the_tunings_are_those_named_or_the_one_of_the_job():
    knobs = {"stages": ["training"], "precisions": ["fp32"], "compile": [False], "memory": False, "device": "cpu"}
    knobs |= {
        "batch_sizes": [],
        "micro_batches": [None],
        "checkpointing": [False],
        "cards": [],
        "rounds": 2,
        "warmup": 0,
        "pretrained": False,
    }
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("profile", ["run_dir=unused", "tuning=lora", "tuning.rank=4"])
        named = ["full", {"name": "lora", "rank": 2}, "frozen"]
        chosen, several = (tunings(config, Settings(["none"], tunings=each, **knobs)) for each in (None, named))
    assert {label: how.get("rank") for label, how in chosen.items()} == {"lora": 4}
    assert {label: how.get("rank") for label, how in several.items()} == {
        "full": None,
        "lora rank=2": 2,
        "frozen": None,
    }


def test_pieces_are_an_axis_of_training_steps_alone():
    knobs = {"stages": ["inference", "training"], "tunings": None, "batch_sizes": [8], "precisions": ["fp32"]}
    knobs |= {"compile": [False], "memory": False, "device": "cpu", "rounds": 2, "warmup": 0, "pretrained": False}
    knobs |= {"checkpointing": [False], "cards": []}
    cases = Settings(["none"], micro_batches=[None, 4], **knobs).cases(["none"], {("none", "full")})
    assert [(case.tuning, case.micro_batch) for case in cases] == [(None, None), ("full", None), ("full", 4)]


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
        profile.add_costs_in_training(label, "lora", {"video_gmacs": gmacs + 1, "trained_parameters": 1})
    base, half = Case("none", 4, "fp32", False), Case("half", 4, "fp32", False)
    profile.add_seconds({base: [3.0, 6.0, 3.0], half: [2.0, 4.0, 2.0], Case("half", 4, "bf16", False): [1.0, 1.0]})
    profile.add_seconds({replace(base, tuning="lora"): [9.0, 9.0], replace(half, tuning="lora"): [6.0, 6.0]})
    profile.add_peak(base, 200 * 2**20)
    profile.add_peak(half, 150 * 2**20)
    profile.write()
    content = json.loads((tmp_path / "profile.json").read_text())
    row, alone, _, step = content["measurements"][1:]
    assert (row["gmac_ratio"], row["speed_up"], row["speed_up_over_gmac_ratio"]) == (2.0, 1.5, 0.75)
    assert (row["seconds"], row["videos_per_second"]) == (2.0, 2.0)
    assert (row["mib"], row["memory_ratio"], row["tuning"]) == (150.0, 0.75, None)
    assert alone["speed_up"] is alone["speed_up_lower_quartile"] is None
    assert (step["tuning"], step["gmac_ratio"], step["speed_up"], step["mib"]) == ("lora", 1.75, 1.5, None)


def test_the_largest_batch_of_each_card_lies_on_the_line_through_the_peaks():
    step, gib = Case("none", 2, "fp32", False, "lora"), 2**30
    peaks = {step: 3 * gib, replace(step, batch_size=4): 5 * gib, Case("none", 4, "fp32", False): 9 * gib}
    (row,) = largest_batches(peaks, [2, 8, 24])  # one GiB is fixed, one goes to each video, and one is set aside
    assert (row["fixed_mib"], row["mib_a_video"], row["measured"]) == (pytest.approx(1024), pytest.approx(1024), [2, 4])
    assert row["batch_sizes"] == [0, 6, 22]
    assert largest_batches({step: 3 * gib}, [8]) == []


def test_batches_of_one_piece_say_nothing_of_batches_in_pieces():
    gib = 2**30
    peaks = {2: 3 * gib, 4: 5 * gib, 8: 6 * gib, 16: 7 * gib}
    cases = {Case("none", size, "fp32", False, "lora", micro_batch=4): peak for size, peak in peaks.items()}
    (row,) = largest_batches(cases, [6, 8])
    assert (row["measured"], row["mib_a_video"], row["batch_sizes"]) == ([8, 16], pytest.approx(128), [None, 16])


def test_the_speed_up_has_quartiles_over_rounds(tmp_path):
    profile = Profile(tmp_path, {})
    for label in ("none", "half"):
        profile.add_costs(label, {"video_gmacs": 1.0})
    base, half = Case("none", 1, "fp32", False), Case("half", 1, "fp32", False)
    profile.add_seconds({base: [1.0, 2.0, 3.0, 4.0, 5.0], half: [1.0] * 5})
    row = profile.measurements()[1]
    assert [row[f"speed_up{which}"] for which in ("_lower_quartile", "", "_upper_quartile")] == [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "tempme")) for name in REDUCERS]
)
def test_every_reducer_encodes_and_trains_at_bf16(name, tiny, monkeypatch):
    monkeypatch.setattr("retrieval.efficiency.profile.peaks.in_clean_memory", lambda device, call, *given: call(*given))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        optimizer = plain(compose("optimizer/adamw").optimizer)
    candidate = build(composed(name)[name], FULL, optimizer)
    weights = sum(weight.nbytes for weight in tiny.parameters())
    case = Case(name, 1, "bf16", compiled=False)
    assert peak_of(candidate, case) >= weights // 2
    assert peak_of(candidate, replace(case, tuning="full")) >= weights  # under autocast they stay as they are


def test_steps_of_all_reducers_share_weights_and_leave_them_as_they_were(tiny):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        optimizer = plain(compose("optimizer/adamw").optimizer)
    before = {name: weight.clone() for name, weight in tiny.named_parameters()}
    builds = {name: build(composed(name)[name], FULL, optimizer) for name in ("none", "tempme")}
    cases = [Case(name, 2, "fp32", compiled=False, tuning="full", micro_batch=1) for name in builds]
    for call in training_calls(tiny, builds, cases).values():
        call()
        assert all((weight.grad != 0).any() for weight in tiny.visual.blocks.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in tiny.named_parameters())


def run(monkeypatch, folder, *overrides):
    place = [f"output={folder}", "name=profile", "backbone=tiny"]
    monkeypatch.setattr(sys, "argv", ["profile", *place, *overrides])
    main()


@pytest.mark.parametrize("memory", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_job_writes_tables_json_and_pictures(memory, monkeypatch, tmp_path, capsys):
    run(
        monkeypatch,
        tmp_path,
        "profile.reducers=[none,{name:tempme,image_merge:1}]",
        "profile.tunings=[full,{name:lora,rank:2},frozen]",
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
    stages = [None, "full", "lora rank=2", "frozen"]
    assert [(row["tuning"], row["reducer"]) for row in content["trained"]] == [*product(stages[1:], labels)]
    measured = [(row["tuning"], row["reducer"]) for row in content["measurements"]]
    assert measured == [
        *product(stages[:3], labels),
        ("frozen", labels[1]),
    ]  # without a reducer nothing is new to train
    for row in content["measurements"]:
        assert row["seconds_lower_quartile"] <= row["seconds"] <= row["seconds_upper_quartile"]
        assert row["videos_per_second"] == pytest.approx(row["batch_size"] / row["seconds"])
        assert (row["mib"] or 0) > 0 if memory else row["mib"] is None
        if row["tuning"] == "frozen":
            assert row["speed_up"] is None
            continue
        assert row["speed_up_lower_quartile"] <= row["speed_up"] <= row["speed_up_upper_quartile"]
        if row["reducer"] == "none":
            ratios = [row[ratio] for ratio in row if ratio.endswith("ratio") or ratio == "speed_up"]
            assert ratios == [1.0] * 3 + [1.0 if memory else None]
    for name in ("profile.json", "tokens.png", "speed_up.png"):
        assert str(folder / name) in printed
        assert (folder / name).is_file()
    assert "measured: encoding, batch 2, fp32" in printed
    assert "measured: training, lora rank=2, batch 2, fp32" in printed
    assert "…" not in printed  # no cell is cut
    assert (folder / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["profile.reducers=[none,nothing]"], "unknown reducer 'nothing'; conf/reducer has chain, "),
        (["profile.reducers=[{name:tempme,merge:1}]"], "tempme has no merge, but frames, join_blocks"),
        (["profile.reducers=[none,none]"], "profile.reducers=['none', 'none']: name one or more, each once"),
        (["profile.tunings=[full,none]"], "unknown tuning 'none'; conf/tuning has frozen, full, lora"),
        (["profile.stages=[testing]"], "profile.stages: unknown testing; choose from inference, training"),
        (["profile.precisions=[fp8]"], "profile.precisions: unknown fp8; choose from fp32, bf16, fp16"),
        (["profile.rounds=1"], "profile.rounds=1: one round cannot tell a faster reducer from a busy machine"),
        (["profile.micro_batches=[null,0]"], "profile.micro_batches=0: at least 1 pair at a time, or null"),
        (["profile.micro_batches=[true]"], "profile.micro_batches=True: at least 1 pair at a time, or null"),
        (["profile.checkpointing=[false,-3]"], "profile.checkpointing=-3: true, false, or n for every n-th block"),
        (["profile.compile=[auto]"], "profile.compile: unknown auto; choose from False, True"),
        (["profile.rounds=0", "profile.memory=false"], "profile.rounds=0: one round cannot tell"),
        (
            ["profile.cards=[8]", "profile.batch_sizes=[2]"],
            "profile.cards=[8]: what fits is computed from the",
        ),
        (
            ["profile.cards=[8]", "profile.batch_sizes=[2,4,8]", "profile.micro_batches=[null,4]"],
            "profile.stages=[training] and profile.batch_sizes=[8,16]",
        ),
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
    knobs = {"stages": ["inference"], "tunings": None, "batch_sizes": [1], "precisions": ["fp32"], "compile": [False]}
    knobs |= {"micro_batches": [None], "checkpointing": [False], "cards": []}
    with pytest.raises(ValueError, match=r"set profile\.device=cpu"):
        Settings(["none"], **knobs, memory=False, device="cuda", rounds=2, warmup=0, pretrained=False)
