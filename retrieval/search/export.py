"""Moments cut out of their videos without encoding anything anew: packets are copied from the key frame before on."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from retrieval.data.decoder.base import VideoError
from retrieval.data.decoder.source import cause, opened, video_stream
from retrieval.errors import UserError
from retrieval.files import replacing
from retrieval.jobs.errors import DISK
from retrieval.jobs.files import refusals
from retrieval.search.answers import Answer
from retrieval.search.writing import clock, shown

OWN_CONTAINER = (".mp4", ".mov", ".m4v", ".webm", ".mkv")
"""Endings of files whose pieces have the same container; Matroska takes what comes from all others."""
MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm"}
MARGINS = (0.0, 10.0, 60.0, 1e9)
"""Seconds before a moment at which its key frame is looked for, one after the other."""
SAME = 1e-6
"""Seconds by which two times may differ and mean the same frame."""
ELSEWHERE = "export=<folder> writes elsewhere"
OF_NAME = 60  # letters of the video's name that a piece is called by


@dataclass(frozen=True)
class Piece:
    """A file that was cut out.

    Attributes:
        path: of the new file.
        earlier: seconds by which it begins before the moment, at the key frame there.
    """

    path: Path
    earlier: float

    def __str__(self) -> str:
        return f"{self.path}" + (
            f", begins {self.earlier:.1f} s earlier, at a key frame" if self.earlier > 0.05 else ""
        )


def export(answers: Sequence[Answer], folder: Path) -> Iterator[Piece | str]:
    """Write each answer's stretch of video into a folder, numbered by its place; what cannot be cut is told by a line.

    Raises:
        UserError: the folder cannot be written.
    """
    with refusals(folder, ELSEWHERE):
        folder.mkdir(parents=True, exist_ok=True)
    for number, answer in enumerate(answers, 1):
        source = Path(answer.path)
        ending = source.suffix.lower() if source.suffix.lower() in OWN_CONTAINER else ".mkv"
        name = re.sub(r"[^\w.-]+", "_", shown(source.stem))[:OF_NAME]
        place = f"{clock(answer.start)}-{clock(answer.end)}".replace(":", ".")
        target = folder / f"{number:03}_{name}_{place}{ending}"
        try:
            yield Piece(target, cut(source, target, answer.start, answer.end))
        except VideoError as error:
            yield str(error)


def cut(source: Path, target: Path, start: float, end: float) -> float:
    """Copy what is shown from `start` to `end`, picture and sound; returns by how much it begins earlier, in seconds.

    Args:
        source: a video.
        target: the new file; its ending says the container.
        start, end: seconds after the video's first frame.

    Raises:
        VideoError: the video cannot be read, or not be cut without encoding it anew.
        UserError: the new file cannot be written.
    """
    with opened(source) as container, refusals(target, ELSEWHERE), replacing(target) as partial:
        try:
            with av.open(str(partial), "w", format=MUXERS.get(target.suffix, "matroska")) as output:
                return _copy(source, container, output, start, end)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in DISK):
                raise
            raise VideoError(f"{source}: cannot be cut without encoding it anew ({cause(error)})") from error


def _copy(source: Path, container: InputContainer, output: OutputContainer, start: float, end: float) -> float:
    video = video_stream(source, container)
    assert video.time_base is not None
    first = float((video.start_time or 0) * video.time_base)
    margin, begin = _key_before(source, container, video, first + start)
    streams: list[Stream] = [video, *container.streams.audio[:1]]
    copies = {stream.index: output.add_stream_from_template(stream, opaque=True) for stream in streams}
    _seek(container, video, first + start - margin)
    has_begun, over = False, set[int]()
    for packet in container.demux(streams):
        time = _seconds(packet)
        has_begun |= packet.stream is video and time == begin
        if packet.dts is not None and packet.dts * packet.time_base >= first + end:
            over.add(packet.stream.index)
        if len(over) == len(streams):
            break
        if time is None or not has_begun or time < begin or packet.stream.index in over:
            continue
        shift = round(begin / packet.time_base)
        packet.pts = packet.pts if packet.pts is None else packet.pts - shift
        packet.dts = packet.dts if packet.dts is None else packet.dts - shift
        packet.stream = copies[packet.stream.index]
        output.mux(packet)
    return max(0.0, first + start - begin)


def _key_before(source: Path, container: InputContainer, video: VideoStream, moment: float) -> tuple[float, float]:
    """The last key frame that is shown no later than a moment: how long before it to seek, and when it is shown.

    Some containers seek to the key frame after the place they are asked for.
    """
    for margin in MARGINS:
        _seek(container, video, moment - margin)
        found = None
        for packet in container.demux(video):
            time = _seconds(packet)
            if time is not None and packet.is_keyframe and time <= moment + SAME:
                found = time
            elif time is not None and packet.is_keyframe:
                break
        if found is not None:
            return margin, found
    raise VideoError(f"{source}: there is no key frame before {moment:g} s")


def _seek(container: InputContainer, video: VideoStream, moment: float) -> None:
    assert video.time_base is not None
    first = min(0, video.start_time or 0)  # MPEG-TS seeks by the time of decoding, which is before that of showing
    container.seek(max(first, round(moment / float(video.time_base))), stream=video)


def _seconds(packet: av.Packet) -> float | None:
    """When a packet is shown; None for one without a time, which ends a stream."""
    time = packet.pts if packet.pts is not None else packet.dts
    return None if time is None else float(time * packet.time_base)
