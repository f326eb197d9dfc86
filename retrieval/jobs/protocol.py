"""What exactly a number was measured under: the protocol card of `metrics.json`, the report and every table of results.

Two numbers are of one kind only where their cards agree. Nothing here changes between two runs of one command on one
machine and commit: no times and no host names (`usage.json` has the times).
"""

from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, get_args

from retrieval.errors import UserError

NEITHER = ("seed", "hardware", "versions", "revision", "dirty")
"""Facts in which two numbers of one protocol may differ: seeds are averaged, the others are told."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights came about, as their checkpoint says; None where it does not.

    Args:
        selected_by: the metric that the checkpoint was chosen by, `val/t2v/r_at_1`.
        selected_on: the videos that it was chosen on: `val`, `test`, or how many were held out of training.
        epochs: passes over the training videos that were planned.
        videos: of the training split.
        captions: of these.
        pairs: what a sample is: each video, or each caption.
        frames: per video.
        sampler: which of a video's frames those are.
        words: per caption.
        augmentation: of the frames.
        batch: videos per step of the optimizer, over all devices and all that is accumulated.
        accumulated: how many batches that the loss looked at one by one make up such a step.
        devices: that trained it together.
        precision: as resolved: what runs where the one asked for is not to be had.
        seed: of everything that is drawn.
        revision: the commit of the code.
        dirty: whether the code was changed against it.
    """

    selected_by: str | None = None
    selected_on: str | None = None
    epochs: int | None = None
    videos: int | None = None
    captions: int | None = None
    pairs: str | None = None
    frames: int | None = None
    sampler: str | None = None
    words: int | None = None
    augmentation: str | None = None
    batch: int | None = None
    accumulated: int | None = None
    devices: int | None = None
    precision: str | None = None
    seed: int | None = None
    revision: str | None = None
    dirty: bool | None = None

    @classmethod
    def of_checkpoint(cls, content: Any, source: str) -> "Training":
        """What a checkpoint's file says, of which nothing is trusted.

        Args:
            content: what stands there under `training`.
            source: the file, for messages.

        Raises:
            UserError: anything but these facts as plain values.
        """
        kinds = {each.name: each.type for each in fields(cls)}
        wrong = content if not isinstance(content, dict) else _misfit(content, kinds)
        if wrong is not None:
            raise UserError(f"{source}: what it says of its training cannot be ({wrong!r}); the file is damaged")
        return cls(**content)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What was measured on what, and by what.

    Args:
        split: train, val or test.
        videos: how many were ranked.
        captions: how many asked for them.
        frames: per video.
        sampler: which of a video's frames those are.
        words: per caption.
        precision: as resolved.
        devices: that measured together.
        seed: of everything that is drawn.
        hardware: the devices by name.
        versions: of Python and the packages that compute.
        revision: the commit of the code; None for an installed package.
        dirty: whether the code was changed against it.
        training: how the weights came about; None where nobody says.
    """

    split: str
    videos: int
    captions: int
    frames: int
    sampler: str
    words: int
    precision: str
    devices: int
    seed: int
    hardware: str
    versions: dict[str, str] = field(default_factory=dict)
    revision: str | None = None
    dirty: bool | None = None
    training: Training | None = None

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> "Protocol":
        """What `to_json` made.

        Raises:
            TypeError: something else.
        """
        training = content.get("training")
        known = {name: value for name, value in content.items() if name != "captions_per_video"}
        return cls(**known | {"training": None if training is None else Training(**training)})

    def to_json(self) -> dict[str, Any]:
        """Nested plain values, captions a video among them."""
        plain = asdict(self)
        place = list(plain).index("captions") + 1
        items = list(plain.items())
        return dict([*items[:place], ("captions_per_video", self.captions_per_video), *items[place:]])

    @property
    def captions_per_video(self) -> float:
        """How many captions of a video are queries, on average: 1 in the paragraph and 1k-A protocols."""
        return round(self.captions / self.videos, 2)

    @property
    def selected_on(self) -> str | None:
        """What the checkpoint was chosen on; None where none was, or nobody says."""
        return self.training.selected_on if self.training else None

    def facts(self) -> dict[str, str]:
        """All of it in few lines, each under its name."""
        told = {
            "split": f"{self.split}, {self.videos:,} videos, {self.captions:,} captions "
            f"({self.captions_per_video:g} a video)",
            "frames": f"{self.frames} ({self.sampler}), {self.words} words",
            "measured": f"{self.precision} on {self.hardware}, seed {self.seed}",
        }
        if self.training:
            told |= _of_training(self.training)
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return told | {"software": ", ".join(filter(None, [versions, code(self.revision, self.dirty)]))}

    def comparable(self) -> dict[str, Any]:
        """What numbers have to share to stand in one row: all but seeds, hardware and software, by dotted names."""
        plain = asdict(self)
        training = plain.pop("training") or asdict(Training())
        named = plain | {"captions_per_video": self.captions_per_video}
        named |= {f"training.{name}": value for name, value in training.items()}
        return {name: value for name, value in named.items() if name.rpartition(".")[2] not in NEITHER}

    def circumstances(self) -> dict[str, str]:
        """The other facts, as text by dotted names: in these the numbers of one row may differ."""
        plain = asdict(self) | {"versions": ", ".join(f"{name} {number}" for name, number in self.versions.items())}
        named = {name: plain[name] for name in NEITHER}
        named |= {f"training.{name}": getattr(self.training, name, None) for name in ("seed", "revision", "dirty")}
        return {name: "" if value is None else str(value) for name, value in named.items()}


def code(revision: str | None, dirty: bool | None) -> str:
    """The code's revision in words; nothing where there is none."""
    return f"commit {revision[:12]}{', changed' if dirty else ''}" if revision else ""


def _of_training(training: Training) -> dict[str, str]:
    chosen = [f"by {training.selected_by}"] if training.selected_by else []
    chosen += [f"on {training.selected_on}"] if training.selected_on else []
    told = {"chosen": " ".join(chosen)} if chosen else {}
    if training.batch is not None:
        shares = f", {training.accumulated} accumulated" if training.accumulated != 1 else ""
        told["trained"] = (
            f"{training.epochs} epochs of {training.videos} videos (each {training.pairs} once), {training.precision}, "
            f"{training.batch} a step over {training.devices} devices{shares}, {training.frames} frames "
            f"({training.sampler}), {training.words} words, {training.augmentation}, seed {training.seed}"
        )
    return told


def _misfit(content: dict[Any, Any], kinds: dict[str, Any]) -> Any:
    """The first name or value that is not as `kinds` have it; None where all are."""
    for name, value in content.items():
        if name not in kinds:
            return name
        kind = kinds[name]
        if type(value) not in (get_args(kind) if isinstance(kind, UnionType) else (kind,)):
            return value
    return None
