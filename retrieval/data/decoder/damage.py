"""What is broken in a video, told by decoding all of it: decoders conceal errors, but most can be heard doing so.

Four signs are listened for: the demuxer's torn packets, frames that FFmpeg marks as corrupt, packets that it cannot
decode, and the errors that it logs and then conceals. Besides, as many frames must come as there are packets, at times
that ascend, up to the end that the container tells. FFmpeg's stricter modes (`err_detect`) found nothing more among 140
damaged videos and are left out. What decodes without a sign to other pixels cannot be told by anyone: VP9 and AV1 have
no redundancy in their symbols, H.264, HEVC and MPEG-4 little.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from retrieval.data.decoder.base import Damage
from retrieval.data.decoder.index import Index, covered_seconds
from retrieval.data.decoder.source import opened, video_stream

SLACK = 0.01
"""Share of the claimed length that may lack where frames are counted besides: edit lists leave some out."""

Sign = tuple[str, float]  # what was noticed, and how many seconds after the first frame


def examine(index: Index) -> Damage | None:
    """Decode all frames of a file, without making pictures of them; None: no sign of damage.

    Raises:
        VideoError: a file that is gone or no longer a video.
    """
    with _listening() as logged, opened(index.path) as container:
        stream = video_stream(index.path, container)
        packets: list[av.Packet] = []
        shown: list[float] = []
        signs = list(_signs(container, stream, index, logged, packets, shown))
        signs += _lacking(container, stream, index, packets, shown)
    if not signs:
        return None
    times = [time - index.times[0] for time in index.times]
    seconds = _stretches(index, times, [second for _, second in signs])
    unsure = sum(any(start <= time < end for start, end in seconds) for time in times)
    counts = Counter(reason for reason, _ in signs)
    return Damage(
        unsure / len(times),
        seconds,
        [f"{reason} ({count} times)" if count > 1 else reason for reason, count in counts.items()],
    )


def _signs(
    container: InputContainer,
    stream: VideoStream,
    index: Index,
    logged: Sequence[object],
    packets: list[av.Packet],
    shown: list[float],
) -> Iterator[Sign]:
    """Every sign of damage; notes the packets, and when frames are shown."""
    heard = 0
    for packet in container.demux(stream):
        place = _seconds(index, packet, len(shown))
        if packet.size:
            packets.append(packet)
            if packet.is_corrupt:
                yield "torn packet", place
        try:
            for frame in packet.decode():
                moment = _seconds(index, frame, len(shown))
                shown.append(moment)
                if frame.is_corrupt:
                    yield "concealed frame", moment
        except av.FFmpegError:
            yield "undecodable packet", place
        if len(logged) > heard:
            yield "error concealed", place
        heard = len(logged)


def _lacking(
    container: InputContainer, stream: VideoStream, index: Index, packets: Sequence[av.Packet], shown: Sequence[float]
) -> Iterator[Sign]:
    """Frames that do not come, come twice or out of order, or lie beyond the file's end."""
    end = index.times[-1] - index.times[0]
    if len(shown) != len(index.timestamps):
        yield f"only {len(shown)} of {len(index.timestamps)} frames", end
    if index.is_ordered and (back := [one for one, two in pairwise(shown) if two <= one]):
        yield "frame shown before its predecessor", back[0]
    slack = SLACK * index.claimed if stream.frames else 0.0
    enough = index.claimed - slack - 2.5 / index.fps
    if covered_seconds(container, stream, packets, enough) < enough:
        yield f"end before the {index.claimed:.2f} s that the file tells of", end


def _seconds(index: Index, timed: av.Packet | av.VideoFrame, number: int) -> float:
    """When a packet or frame is shown, in seconds after the first frame; by counting where its times are guesses."""
    time = timed.pts if timed.pts is not None else timed.dts
    if not index.is_ordered or time is None:
        return number / index.fps
    return (time - index.timestamps[0]) * index.time_base


def _stretches(index: Index, times: Sequence[float], places: Sequence[float]) -> list[list[float]]:
    """From each place to the key frame after it, because the frames between are built on what is broken there."""
    keys = [(key - index.timestamps[0]) * index.time_base for key in index.keys] if index.is_ordered else []
    stretches: list[list[float]] = []
    for place in sorted(places):
        after = bisect_right(keys, place)
        end = keys[after] if after < len(keys) else times[-1] + 1 / index.fps
        if stretches and place <= stretches[-1][1]:
            stretches[-1][1] = max(end, stretches[-1][1])
        else:
            stretches.append([round(place, 3), round(end, 3)])
    return stretches


@contextmanager
def _listening() -> Iterator[Sequence[object]]:
    """What FFmpeg logs as an error in this thread; outside it stays silent."""
    level, repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # the same message about the next video would not be heard
    try:
        with av.logging.Capture() as logged:
            yield logged
    finally:
        av.logging.set_skip_repeated(repeated)
        av.logging.set_level(level)
