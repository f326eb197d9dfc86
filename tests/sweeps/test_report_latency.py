"""Latencies in a report: measured once for a sweep, of models that are built from known classes alone."""

import json
import sys

import pandas as pd
import pytest
from omegaconf import OmegaConf

from retrieval.report import main
from retrieval.sweeps.report import write_report
from retrieval.sweeps.report.latency import measure
from tests.sweeps.jobs import NONE, chain, write_job

KMEDOIDS = {"_target_": "retrieval.reducers.KMedoids", "frames": 4, "num_segments": 2}
POOLING = {"_target_": "retrieval.reducers.Pooling", "frames": 4, "block": 2, "num_segments": 2}


@pytest.mark.slow
def test_latency_is_measured_once_for_a_sweep(tmp_path, monkeypatch):
    write_job(tmp_path / "none0", NONE, 0, 300.0)
    taken: list[list[str]] = []

    def pretend(configs, left):
        taken.append(list(configs))
        return dict.fromkeys(configs, 2.5)

    monkeypatch.setattr("retrieval.sweeps.report.latency.measure", pretend)
    for _ in range(2):
        write_report(tmp_path)
    assert taken == [["none"]]
    assert pd.read_csv(tmp_path / "report.csv")["latency (ms)"].tolist() == [2.5]
    write_job(tmp_path / "other", POOLING, 0, 310.0)
    write_report(tmp_path)
    assert [len(names) for names in taken] == [1, 2]  # both again, so that they take turns
    stored = tmp_path / "latency.json"
    measured = json.loads(stored.read_text())
    for other in ({"device": "another"}, {"backbones": dict.fromkeys(measured["backbones"], "ViT-B-32")}):
        stored.write_text(json.dumps(measured | other))
        write_report(tmp_path)
        assert json.loads(stored.read_text()) == measured
    for damaged in ('{"milliseconds":', "[]", "{}"):
        stored.write_text(damaged)
        write_report(tmp_path)
        assert json.loads(stored.read_text()) == measured
    assert len(taken) == 7


def test_a_config_in_a_sweeps_folder_runs_nothing_and_the_report_is_written(tmp_path, monkeypatch, caplog):
    """Rows whose models are not built from known classes alone have a dash, and a warning."""
    canary = tmp_path / "ran"
    touch = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [str(canary)]}}
    theirs = {"_target_": "their_report_reducers.Theirs"}
    reducers = [NONE, touch, chain(2, 0.1) | {"reducers": [touch]}, POOLING | {"block": touch}, theirs]
    for number, reducer in enumerate(reducers):
        write_job(tmp_path / "sweep" / str(number), reducer, 0, 300.0 + number)
    write_job(tmp_path / "sweep" / "frames", NONE, 0, 300.0, data={"frames": "many"})
    lines = {"oc": "x: ${oc.env:HOME}", "create": f'reducer: "${{oc.create:{touch}}}"', "torn": "a: ["}
    for name, line in lines.items():
        write_job(tmp_path / "sweep" / name, NONE, 0, 300.0)
        with (tmp_path / "sweep" / name / "config.yaml").open("a") as file:
            file.write(line + "\n")
    (tmp_path / "sweep" / "empty").mkdir()
    (tmp_path / "sweep" / "empty" / "config.yaml").touch()
    monkeypatch.setattr("retrieval.sweeps.report.latency.measure", lambda configs, left: dict.fromkeys(configs, 2.5))
    write_report(tmp_path / "sweep")
    assert not canary.exists()
    rows = pd.read_csv(tmp_path / "sweep" / "report.csv")
    measured = rows.loc[rows["latency (ms)"].notna(), "reducer"]
    assert measured.tolist() == ["none"]
    assert sorted(rows["state"]) == [*["1 damaged"] * 4, *["finished"] * 6]  # each goes by its folder
    parts = (
        "the key _args_",
        "frames=many",
        "interpolation ${oc.env",
        "interpolation ${oc.create",
        "config.yaml: damaged",
    )
    for text in parts:
        assert text in caplog.text
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_report_reducers.py").write_text(
        "from retrieval.reducers import Reducer\nclass Theirs(Reducer): ..."
    )
    (tmp_path / "conf" / "reducer").mkdir(parents=True)
    (tmp_path / "conf" / "reducer" / "theirs.yaml").write_text("_target_: their_report_reducers.Theirs\n")
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "sweep"), f"--config-dir={tmp_path / 'conf'}"])
    main()
    rows = pd.read_csv(tmp_path / "sweep" / "report.csv")
    assert rows.loc[rows["latency (ms)"].notna(), "reducer"].tolist() == ["none", "Theirs"]


def test_a_model_that_cannot_run_has_no_latency(caplog):
    models = {"none": ("ViT-tiny-8", NONE), "other": ("ViT-Z", NONE), "many": ("ViT-tiny-8", KMEDOIDS | {"frames": 7})}
    configs = {
        name: OmegaConf.create({"backbone": {"source": source}, "reducer": reducer, "data": {"frames": 2}})
        for name, (source, reducer) in models.items()
    }
    assert measure(configs).keys() == {"none"}
    assert "no latency of other: unknown backbone 'ViT-Z'" in caplog.text
    assert "no latency of many: " in caplog.text


def test_towers_of_one_backbone_are_timed_with_their_own_reducers():
    tome = {"_target_": "retrieval.reducers.ToMe", "image_merge": 1, "proportional_attention": True}
    configs = {
        name: OmegaConf.create({"backbone": {"source": "ViT-tiny-8"}, "reducer": reducer, "data": {"frames": 2}})
        for name, reducer in (("none", NONE), ("tome", tome))
    }
    found = measure(configs)
    assert found.keys() == configs.keys()
    assert all(value > 0 for value in found.values())
