"""What lies under a path: a regular file with a video stream, or which of the many other things."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from retrieval.data.decoder.base import VideoError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The file's container, opened for reading; a pipe or a device is not even touched, because that would wait.

    Raises:
        VideoError: what is no file, no video, or may not be read, each in its own words; so for any error of FFmpeg's
            while it is open.
    """
    _check_kind(path)
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: not a readable video: {cause(error)}") from error


def video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The video stream that a player shows, decoded by one thread: the data loader's workers are the parallelism.

    Raises:
        VideoError: the file is a picture, or sound alone.
    """
    if container.format.name == "image2" or container.format.name.endswith("_pipe"):
        raise VideoError(f"{path}: not a video, but a picture")
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & av.stream.Disposition.attached_pic:
        kind = (
            "not a video, but sound alone"
            if container.streams.audio
            else "not a readable video: it has no video stream"
        )
        raise VideoError(f"{path}: {kind}")
    stream.codec_context.thread_count = 1
    return stream


def cause(error: Exception) -> str:
    """What FFmpeg says, without its number and the file's name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _check_kind(path: Path) -> None:
    try:
        status = path.stat()
        if (kind := _KINDS.get(stat.S_IFMT(status.st_mode))) is not None:
            raise VideoError(f"{path}: not a video file, but {kind}")
        if status.st_size == 0:
            raise VideoError(f"{path}: the file is empty")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file") from error
    except PermissionError as error:
        raise VideoError(f"{path}: no permission to read it") from error
    except OSError as error:
        raise VideoError(f"{path}: {cause(error)}") from error
