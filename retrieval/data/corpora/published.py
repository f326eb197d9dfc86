"""What published sets share: annotation files as distributed; videos in any container, flat or in folders."""

import logging
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from retrieval.data.corpora.base import Corpus, Record, check_split, tell_counts
from retrieval.errors import UserError

logger = logging.getLogger(__name__)
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv")


class PublishedSet(Corpus):
    """A published set whose files lie under `root`, annotations and videos each in any sub-folder.

    Args:
        root: the folder of the set.
        videos: the folder of its videos, absolute or relative to `root`.
    """

    def __init__(self, root: str | Path, videos: str | Path = ".") -> None:
        self.root = Path(root)
        self.videos = self.root / videos

    @abstractmethod
    def captions(self, split: str) -> Mapping[str, Sequence[str]]:
        """The captions of each video id of `split`, in the order of the annotations."""

    def durations(self, split: str) -> Mapping[str, float]:
        """How many seconds each video id of `split` lasts, where the annotations say so."""
        return {}

    def names(self, video_id: str) -> Sequence[str]:
        """What its file may be called, without the container's ending; the first that is there is taken."""
        return [video_id]

    def records(self, split: str) -> list[Record]:
        check_split(split)
        if split not in self.splits:
            raise UserError(f"{type(self).__name__} has no split {split!r}, but {', '.join(self.splits)}")
        captions = self.captions(split)
        durations = self.durations(split)
        if odd := [name for name in captions if Path(name).name != name or not name.isprintable()]:
            raise UserError(f"data.root={self.root}: {split!r} has a video {odd[0][:80]!r}, which is no name of a file")
        found = {video_id: list(filter(None, map(self._video, self.names(video_id)))) for video_id in captions}
        if not any(found.values()):
            raise UserError(self._none_found(split, list(captions)))
        _warn_of_duplicates(found, split)
        records = [
            Record(name, (*found[name], self.videos / f"{name}.mp4")[0], tuple(texts), duration=durations.get(name))
            for name, texts in captions.items()
        ]
        tell_counts(f"{self.root}, {split}", records)
        return records

    def annotation(self, name: str) -> Path:
        """The annotation file called `name`, the one nearest to `root`.

        Raises:
            UserError: there is none; the message lists what there is.
            UserError: there are two.
        """
        if not self.root.is_dir():
            raise UserError(f"data.root={self.root}: no such folder; give the folder of {type(self).__name__}")
        found = sorted(self._files.get(name, ()), key=lambda path: (len(path.parts), path))
        if not found:
            raise UserError(f"data.root={self.root}: no {name} in it or its folders; {self._inventory()}")
        if len(found) > 1 and len(found[0].parts) == len(found[1].parts):
            raise UserError(f"data.root={self.root}: which {name}? {found[0]} and {found[1]} are there; keep one")
        return found[0]

    def _video(self, name: str) -> Path | None:
        found = self._videos.get(bare_name(name), [])
        if len({path.resolve() for path in found}) > 1:
            raise UserError(
                f"two videos for {name}: {found[0]} and {found[1]}; name the folder of one with data.videos"
            )
        return found[0] if found else None

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        return _by_name((path.name, path) for path in _walk(self.root) if path.suffix.lower() not in VIDEO_SUFFIXES)

    @cached_property
    def _videos(self) -> dict[str, list[Path]]:
        if not self.videos.is_dir():
            raise UserError(f"data.videos={self.videos}: no such folder; {self._inventory()}")
        videos = (path for path in _walk(self.videos) if path.suffix.lower() in VIDEO_SUFFIXES)
        return _by_name((bare_name(path.name), path) for path in videos)

    def _inventory(self) -> str:
        found = sorted(str(path.relative_to(self.root)) for paths in self._files.values() for path in paths)
        return f"found: {_listing(found) or 'no annotation files'}"

    def _none_found(self, split: str, wanted: Sequence[str]) -> str:
        found = sorted(str(path.relative_to(self.videos)) for paths in self._videos.values() for path in paths)
        return (
            f"data.videos={self.videos}: none of the {len(wanted)} videos of the split {split!r} is in it or its "
            f"folders; looked for {_listing(wanted)} with any of {', '.join(VIDEO_SUFFIXES)}; "
            f"found: {_listing(found) or 'no videos'}"
        )


def wanted_captions(
    wanted: Sequence[str], captions: Mapping[str, Sequence[str]], split: str, path: Path
) -> dict[str, Sequence[str]]:
    """The captions of the videos `wanted` in `split`, of all that the file `path` has.

    Raises:
        UserError: it lacks those of some.
    """
    without = [video_id for video_id in wanted if not captions.get(video_id)]
    if without:
        raise UserError(
            f"{path} has no captions of {len(without)} of {len(wanted)} videos of the split {split!r}, the first: "
            f"{without[0]}"
        )
    return {video_id: captions[video_id] for video_id in wanted}


def bare_name(name: str) -> str:
    """A video's name without its container's endings (`a.mov.mp4` is `a`); other dots belong to it."""
    while name.lower().endswith(VIDEO_SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def _warn_of_duplicates(found: Mapping[str, Sequence[Path]], split: str) -> None:
    """Warn of videos that have files under several of their names."""
    several = [paths for paths in found.values() if len({path.resolve() for path in paths}) > 1]
    if several:
        logger.warning(
            "%d videos of the split %r have several files, of which the first is taken: %s",
            len(several),
            split,
            _listing([" and not ".join(map(str, paths)) for paths in several]),
        )


def _walk(folder: Path) -> Iterable[Path]:
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (Path(place, name) for name in sorted(names))


def _by_name(named: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    paths: dict[str, list[Path]] = {}
    for name, path in named:
        paths.setdefault(name, []).append(path)
    return paths


def _listing(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
