"""What a video file holds, told by its packets: nothing is decoded but the first frame, for its size and rotation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from retrieval.data.decoder.base import VideoError
from retrieval.data.decoder.source import cause, opened, video_stream

UNTIMED_CONTAINER = "avi"
"""The container that keeps no presentation times, so that those of reordered frames are guesses; it also counts frames
that were dropped in recording."""

SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""FFmpeg's names of the containers in which decord finds the frames asked for; in MPEG-TS it gives others."""

SHORTFALL = 0.1
"""Share of the length that its container claims which a video may lack before it is taken for cut; some claim a little
too much."""

TS_PACKETS = (188, 192, 204)  # bytes of an MPEG-TS packet: alone, with a time code, with error correction

ANYWAY = "data.check=none reads what is there"


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
        is_plain: whether, besides, the container is one of `SEEKABLE`, every frame that is coded is shown, and none is
            coded after a key frame that follows it on the screen (closed groups of pictures).
        claimed: seconds that the container says the video lasts; 0: it says nothing.
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
    claimed: float = 0.0

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


def read_index(path: Path, check: str = "header") -> Index:
    """Go through the packets of a file.

    Raises:
        VideoError: a file that is missing, empty, or no video; unless `check` is "none", one that is cut or torn.
    """
    with opened(path) as container:
        stream = video_stream(path, container)
        packets = list(container.demux(stream))
        if not any(packet.size and not packet.is_discard for packet in packets):
            raise VideoError(f"{path}: damaged, 0 of {stream.frames} frames are there to be shown")
        if not (fps := float(stream.average_rate or stream.guessed_rate or 0)):
            raise VideoError(f"{path}: not a readable video: it has no frame rate")
        if check != "none":
            _check_packets(path, container, stream, packets)
        return _read(path, fps, container, stream, [packet for packet in packets if packet.size])


def _check_packets(path: Path, container: InputContainer, stream: VideoStream, packets: Sequence[av.Packet]) -> None:
    """Compare what is there with what the container says, in a pass that is made anyway."""
    there = sum(packet.size > 0 for packet in packets)
    if stream.frames > there and container.format.name != UNTIMED_CONTAINER:
        raise VideoError(f"{path}: damaged, {there} of {stream.frames} frames are there; {ANYWAY}")
    torn = [packet for packet in packets if packet.size and packet.is_corrupt]
    if torn:
        raise VideoError(f"{path}: damaged, {len(torn)} of {there} packets are torn; {ANYWAY}")
    if container.format.name == "mpegts" and all(path.stat().st_size % size for size in TS_PACKETS):
        raise VideoError(f"{path}: cut short, it ends within a packet; {ANYWAY}")
    claimed = claimed_seconds(container, stream)
    if (seconds := covered_seconds(container, stream, packets, (1 - SHORTFALL) * claimed)) < (1 - SHORTFALL) * claimed:
        raise VideoError(f"{path}: cut short, it ends at {seconds:.2f} s, not at {claimed:.2f} s; {ANYWAY}")


def claimed_seconds(container: InputContainer, stream: VideoStream) -> float:
    """How long the container says that the video lasts, or where it does not, the file; 0 where it says nothing."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def covered_seconds(
    container: InputContainer, stream: VideoStream, packets: Sequence[av.Packet], enough: float
) -> float:
    """From the beginning of the file to the end of the last packet, an empty one being a frame dropped in recording.

    Where only the file's length is known, and the video's is not `enough`, packets of all streams are looked at.
    """
    seconds = _span(packets)
    if seconds < enough and not stream.duration:
        container.seek(0)
        seconds = max(seconds, _span([packet for packet in container.demux() if packet.size]))
    return seconds


def _span(packets: Sequence[av.Packet]) -> float:
    """Seconds from the first packet's time to the last one's end."""
    timed = [
        (float(time * packet.time_base), float((packet.duration or 0) * packet.time_base))
        for packet in packets
        if (time := packet.pts if packet.pts is not None else packet.dts) is not None and packet.time_base
    ]
    return max((time + length for time, length in timed), default=0.0) - min((time for time, _ in timed), default=0.0)


def _read(
    path: Path, fps: float, container: InputContainer, stream: VideoStream, packets: Sequence[av.Packet]
) -> Index:
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
        is_plain=is_ordered
        and container.format.name in SEEKABLE
        and len(played) == len(packets)
        and not _is_open(played),
        claimed=claimed_seconds(container, stream),
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
