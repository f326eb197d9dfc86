"""A W&B workspace and a W&B report of the runs of a project, or of one sweep in it."""

import wandb
from wandb_workspaces.expr import Metric
from wandb_workspaces.reports.v2 import H2, P, PanelGrid, Report, Runset, TableOfContents
from wandb_workspaces.reports.v2.interface import BlockTypes
from wandb_workspaces.workspaces import RunsetSettings, Section, Workspace

from retrieval.errors import UserError
from retrieval.tracking.panels import sections

NOTES = {
    "Recall against cost": "Each point is a run on the test split; the line is the best recall up to a cost. GMACs are "
    "10⁹ multiply-accumulates of one video, in closed form from the config.",
    "Recall while training": "On the validation split, which chooses the checkpoint.",
    "Examples": "Queries of the test split, from the best found to the worst; ties count against the right video. In "
    "the pictures the right video stands first, those found for the query after the gap.",
    "What the reducer merged": "Each patch as the mean of its token, with a line where two tokens meet.",
}


def check_runs(entity: str, project: str, sweep: str | None) -> None:
    """Raise UserError unless the server has the project, and runs to show in it."""
    path = f"{entity}/{project}"
    runs = wandb.Api().runs(path, filters={"group": sweep} if sweep else None, per_page=1)
    if len(runs) == 0:
        raise UserError(f"--sweep {sweep}: no run of {path} has this group" if sweep else f"{path}: no runs to show")


def build_workspace(entity: str, project: str, sweep: str | None) -> Workspace:
    """The panels as a view of the project."""
    runs = RunsetSettings(filters=[Metric("Group") == sweep]) if sweep else RunsetSettings()
    parts = [Section(name=name, panels=panels, is_open=True) for name, panels in sections().items()]
    return Workspace(entity=entity, project=project, name=title(sweep), sections=parts, runset_settings=runs)


def build_report(entity: str, project: str, sweep: str | None) -> Report:
    """The panels with what there is to know about them."""
    blocks: list[BlockTypes] = [TableOfContents()]
    for name, panels in sections().items():
        runs = Runset(entity=entity, project=project, filters=[Metric("Group") == sweep] if sweep else "")
        blocks += [H2(name), *([P(NOTES[name])] if name in NOTES else []), PanelGrid(runsets=[runs], panels=panels)]
    return Report(entity=entity, project=project, title=title(sweep), blocks=blocks, width="fluid")


def title(sweep: str | None) -> str:
    return f"Token reducers: {sweep}" if sweep else "Token reducers"
