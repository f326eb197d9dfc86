"""What a video file holds, told by its packets: nothing is decoded but the first frame, for its size and rotation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from retrieval.data.decoder.base import VideoError

UNTIMED_CONTAINER = "avi"
"""The container that keeps no presentation times, so that those of reordered frames are guesses; it also counts frames
that were dropped in recording."""


@dataclass(frozen=True)
class Index:
    """A file's best video stream, as FFmpeg ranks streams: by default flag, bit rate and size.

    Attributes:
        path: of the file.
        fps: frames a second, on average.
        height, width: of an upright frame in pixels.
        quarter_turns: counter-clockwise, that make a coded frame upright.
        timestamps: when each frame is shown, in units of `time_base`, ascending.
        keys: those of `timestamps` from which decoding can start.
        time_base: seconds.
        is_ordered: whether frames can be told by the time they are shown, and not by counting alone.
        is_plain: whether, besides, every frame that is coded is shown, and none is coded after a key frame that follows
            it on the screen (closed groups of pictures).
    """

    path: Path
    fps: float
    height: int
    width: int
    quarter_turns: int
    timestamps: Sequence[int]
    keys: Sequence[int]
    time_base: float
    is_ordered: bool
    is_plain: bool

    @property
    def times(self) -> list[float]:
        """Of every frame, in seconds."""
        if self.is_ordered:
            return [time * self.time_base for time in self.timestamps]
        return [number / self.fps for number in range(len(self.timestamps))]

    def damaged(self, indices: Sequence[int], reason: str) -> VideoError:
        """The error of frames that cannot be decoded."""
        frames = f"frames {list(indices)} of {len(self.timestamps)}"
        return VideoError(f"{self.path}: damaged, {frames} cannot be decoded: {reason}")

    def size(self, short_side: int | None) -> tuple[int, int]:
        """Height and width once the shorter side is `short_side` pixels; never larger than in the file."""
        scale = 1.0 if short_side is None else min(1.0, short_side / min(self.height, self.width))
        return round(self.height * scale), round(self.width * scale)


def read_index(path: Path) -> Index:
    """Go through the packets of a file.

    Raises:
        VideoError: a file that is missing, empty, no video, or cut short.
    """
    if not path.is_file():
        raise VideoError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
    try:
        with av.open(str(path)) as container:
            return _read(path, container)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: not a readable video: {cause(error)}") from error


def best_stream(container: InputContainer) -> VideoStream | None:
    """The video stream that a player shows, decoded by one thread: the data loader's workers are the parallelism."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        return None
    stream.codec_context.thread_count = 1
    return stream


def cause(error: Exception) -> str:
    """What FFmpeg says, without its number and the file's name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _read(path: Path, container: InputContainer) -> Index:
    stream = best_stream(container)
    if stream is None:
        raise VideoError(f"{path}: not a readable video: it has no video stream")
    packets = [packet for packet in container.demux(stream) if packet.size]
    if not packets or (stream.frames > len(packets) and container.format.name != UNTIMED_CONTAINER):
        raise VideoError(f"{path}: damaged, {len(packets)} of {stream.frames} frames are there")
    if not (fps := float(stream.average_rate or stream.guessed_rate or 0)):
        raise VideoError(f"{path}: not a readable video: it has no frame rate")
    played = [packet for packet in packets if not packet.is_discard]
    times = [packet.pts for packet in played if packet.pts is not None]
    keys = sorted(packet.pts for packet in played if packet.is_keyframe and packet.pts is not None)
    is_ordered = bool(keys) and len(set(times)) == len(played) and container.format.name != UNTIMED_CONTAINER
    turns, height, width = _upright(path, container, stream)
    return Index(
        path,
        fps,
        height,
        width,
        turns,
        sorted(times) if is_ordered else range(len(played)),
        keys,
        float(stream.time_base or 0),
        is_ordered,
        is_plain=is_ordered and len(played) == len(packets) and not _is_open(played),
    )


def _is_open(packets: Sequence[av.Packet]) -> bool:
    """Whether a frame that is shown before a key frame is coded after it."""
    key = None
    for packet in packets:
        if packet.is_keyframe:
            key = packet.pts
        elif key is not None and packet.pts is not None and packet.pts < key:
            return True
    return False


def _upright(path: Path, container: InputContainer, stream: VideoStream) -> tuple[int, int, int]:
    """Quarter turns, height and width of the first frame; the container does not tell how it is to be turned."""
    container.seek(0)
    try:
        frame = next(container.decode(stream))
    except (av.FFmpegError, StopIteration) as error:
        raise VideoError(f"{path}: damaged, its first frame cannot be decoded: {cause(error)}") from error
    turns = round(frame.rotation / 90) % 4
    return (turns, frame.width, frame.height) if turns % 2 else (turns, frame.height, frame.width)
