"""The panels of a sweep's dashboard, by what they answer; the keys are those that `retrieval.tracking` logs."""

from wandb_workspaces.reports.v2 import (
    Config,
    Layout,
    LinePlot,
    MediaBrowser,
    ParallelCoordinatesPlot,
    ParallelCoordinatesPlotColumn,
    ScatterPlot,
    SummaryMetric,
    WeavePanelSummaryTable,
)
from wandb_workspaces.reports.v2.interface import PanelTypes

COSTS = {"cost/video_gmacs": "GMACs a video", "cost/output_tokens": "tokens at the end"}
KNOBS = {
    "reducer.name": "reducer",
    "reducer.num_segments": "segments",
    "reducer.merge_ratio": "merge ratio",
}
RECALLS = {
    "t2v/r_at_1": "text to video, R@1",
    "v2t/r_at_1": "video to text, R@1",
    "t2v/r_sum": "text to video, R-Sum (of 300)",
    "both/r_sum": "both directions, R-Sum (of 600)",
}
WIDE = Layout(w=24, h=12)
HALF = Layout(w=12, h=10)
THIRD = Layout(w=8, h=8)


def sections() -> dict[str, list[PanelTypes]]:
    """All panels under their headings."""
    return {
        "Recall against cost": [pareto(cost, title) for cost, title in COSTS.items()],
        "What the knobs do": [knobs()],
        "Recall while training": [curve(f"val/{key}", title) for key, title in RECALLS.items()],
        "Training": [curve("train/loss_epoch", "loss"), curve("train/videos_per_second", "videos a second")],
        "Examples": [WeavePanelSummaryTable(table_name="test/examples", layout=WIDE), pictures("test/found")],
        "What the reducer merged": [pictures("test/tokens")],
    }


def pareto(cost: str, title: str) -> ScatterPlot:
    """Each run's recall over its cost, with the best recall that is to be had up to that cost as a line."""
    recall = "test/t2v/r_at_1"
    return ScatterPlot(
        title=f"{RECALLS['t2v/r_at_1']} over {title}",
        x=SummaryMetric(cost),
        y=SummaryMetric(recall),
        running_ymax=True,
        layout=HALF,
    )


def knobs() -> ParallelCoordinatesPlot:
    """A line a run, from its reducer and knobs to its cost and recall."""
    metrics = {"cost/video_gmacs": COSTS["cost/video_gmacs"], "test/t2v/r_at_1": RECALLS["t2v/r_at_1"]}
    columns = [ParallelCoordinatesPlotColumn(Config(key), display_name=name) for key, name in KNOBS.items()]
    columns += [ParallelCoordinatesPlotColumn(SummaryMetric(key), display_name=name) for key, name in metrics.items()]
    return ParallelCoordinatesPlot(columns=columns, layout=WIDE)


def curve(metric: str, title: str) -> LinePlot:
    """A metric over the training steps, a line a run."""
    return LinePlot(title=title, x="trainer/global_step", y=[metric], layout=THIRD)


def pictures(key: str) -> MediaBrowser:
    """The pictures logged under a key, run by run."""
    return MediaBrowser(media_keys=[key], num_columns=2, layout=WIDE)
