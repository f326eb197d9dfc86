"""Which video files lie under folders, each once, whatever symbolic links lead back to them."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from retrieval.errors import UserError

ENDINGS = re.compile(
    r"\.(3g[2p]|asf|avi|divx|dv|f4v|flv|h264|hevc|ivf|m[12]v|m2t|m2ts|m4v|mjpe?g|mkv|mov|mp4|mpe|mpe?g|mpv|mts|mxf|nut"
    r"|og[mv]|qt|rm|rmvb|ts|vob|webm|wmv|wtv|y4m)$",
    re.IGNORECASE,
)
"""Those of containers that FFmpeg reads videos from; a file that is named itself is taken whatever it is called."""
TRANSPORT_STREAM, SYNC = ".ts", b"G"
"""TypeScript has the ending of MPEG's transport streams, whose first byte is always this."""

Identity = tuple[int, int]
"""Device and number of what a name leads to."""


@dataclass(frozen=True)
class Found:
    """A video file: its absolute path, its size in bytes, and when it was changed, in seconds since the epoch."""

    path: str
    size: int
    modified: float

    @property
    def signature(self) -> tuple[int, float]:
        """What another content would change."""
        return self.size, self.modified


@dataclass
class Walk:
    """What was found.

    Attributes:
        roots: the folders and files that were walked.
        files: by path, in the order of the paths.
        unread: folders that could not be listed, with the cause: what lies there is not known.
        unnamed: files whose names are no text, as messages; nothing can be written down of them.
    """

    roots: list[str]
    files: dict[str, Found] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    unnamed: list[str] = field(default_factory=list)

    def covers(self, path: str) -> bool:
        """Whether a file at this path would have been found."""
        return _is_under(path, self.roots) and not _is_under(path, self.unread)


def walk(roots: Iterable[str | os.PathLike[str]]) -> Walk:
    """All video files under these folders, and these files themselves.

    Raises:
        UserError: a root that does not exist, or a folder without a single video: a disk that is not there.
    """
    found = Walk([os.path.abspath(root) for root in roots])
    if not found.roots:
        raise UserError("root: give the folder of the videos")
    folders: set[Identity] = set()
    seen: set[Identity] = set()
    for root in found.roots:
        if not os.path.isdir(root):
            _note(_named(root), found, seen)
        elif _identity(os.stat(root)) not in folders:
            paths = list(_files(root, found, folders))
            if not paths:
                raise UserError(f"root={root}: no videos there, nor in its folders{_causes(found)}")
            for path in paths:
                _note(path, found, seen)
    found.files = dict(sorted(found.files.items()))
    return found


def _named(path: str) -> str:
    if not os.path.lexists(path):
        raise UserError(f"root={path}: no such folder or file")
    return path


def _files(root: str, found: Walk, seen: set[Identity]) -> Iterator[str]:
    """The files with a video's ending; a folder that was walked already, by whatever name, is not walked again."""

    def unread(error: OSError) -> None:
        found.unread[str(error.filename)] = error.strerror or str(error)

    for folder, folders, names in os.walk(root, onerror=unread, followlinks=True):
        try:
            identity = _identity(os.stat(folder))
        except OSError as error:  # gone since it was listed
            unread(error)
            folders.clear()
            continue
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if ENDINGS.search(name) and not _is_typescript(path):
                yield path


def _note(path: str, found: Walk, seen: set[Identity]) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        found.unnamed.append(f"{os.fsencode(path)!r}: its name is no UTF-8: rename it")
        return
    try:
        status = os.stat(path)
    except OSError:  # gone since it was listed, or a link to nothing
        return
    if _identity(status) not in seen:
        seen.add(_identity(status))
        found.files[path] = Found(path, status.st_size, status.st_mtime)


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def _is_typescript(path: str) -> bool:
    if not path.lower().endswith(TRANSPORT_STREAM):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(1) != SYNC
    except OSError:
        return False  # told when it is read


def _is_under(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip(os.sep) + os.sep) for place in places)


def _causes(found: Walk) -> str:
    return "".join(f"; {folder}: {cause}" for folder, cause in found.unread.items())
