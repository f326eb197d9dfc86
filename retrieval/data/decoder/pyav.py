"""Reading with PyAV, FFmpeg's own libraries: any file and any size; only the frames asked for become pictures."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8
from torch import Tensor

from retrieval.data.decoder.base import VideoError, VideoFile
from retrieval.data.decoder.coded import CodedFile
from retrieval.data.decoder.index import Index, read_index
from retrieval.data.decoder.source import cause, video_stream


def open_pyav(path: Path, short_side: int | None = None, check: str = "header") -> VideoFile:
    """A file read by PyAV; see `Decoder`."""
    index = read_index(path, check)
    return PyAVFile(index, index.size(short_side), tolerant=check == "none")


class PyAVFile(CodedFile):
    """A file at `size`, decoded from the key frame before each wanted frame; `tolerant`: with concealed ones."""

    def __init__(self, index: Index, size: tuple[int, int], tolerant: bool = False) -> None:
        super().__init__(index, size)
        self.tolerant = tolerant

    def _decode(self, distinct: Sequence[int]) -> UInt8[Tensor, "frame 3 height width"]:
        try:
            with av.open(str(self.index.path)) as container:
                pictures = np.stack(list(self._pictures(container, distinct)))
        except (av.FFmpegError, OSError) as error:
            raise self.index.damaged(distinct, cause(error)) from error
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)

    def _pictures(self, container: InputContainer, wanted: Sequence[int]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        stream = video_stream(self.index.path, container)
        if self.index.is_ordered:
            frames = self._by_time(container, stream, wanted)
        else:
            frames = self._by_count(container, stream, wanted)
        graph = self._graph(stream)
        for frame in frames:
            if frame.is_corrupt and not self.tolerant:
                raise self.index.damaged(wanted, "FFmpeg conceals an error")
            graph.push(frame)
            picture = graph.pull()
            assert isinstance(picture, VideoFrame)
            yield np.rot90(picture.to_ndarray(), self.index.quarter_turns)

    def _graph(self, stream: VideoStream) -> av.filter.Graph:
        """FFmpeg's scaler with the defaults of its `scale` filter, bicubic, as decord uses it: the very same pixels."""
        assert self.size is not None
        height, width = self.size[::-1] if self.index.quarter_turns % 2 else self.size
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(template=stream),
            graph.add("scale", f"{width}:{height}"),
            graph.add("format", "rgb24"),
            graph.add("buffersink"),
        )
        graph.configure()
        return graph

    def _by_count(self, container: InputContainer, stream: VideoStream, wanted: Sequence[int]) -> Iterator[VideoFrame]:
        """From the first frame on: where times are guesses, only the order in which frames come is sure."""
        left = list(reversed(wanted))
        for number, frame in enumerate(container.decode(stream)):
            if left and number == left[-1]:
                yield frame
                left.pop()
            if not left:
                return
        raise self._missing(left[-1])

    def _by_time(self, container: InputContainer, stream: VideoStream, wanted: Sequence[int]) -> Iterator[VideoFrame]:
        """From the key frame before each, unless the frames between lie on the way."""
        frames, reached = container.decode(stream), self.index.keys[0]
        for number in wanted:
            time = self.index.timestamps[number]
            key = self.index.keys[max(0, bisect_right(self.index.keys, time) - 1)]
            if key > reached:
                container.seek(key, stream=stream)
                frames = container.decode(stream)
            frame = _frame_at(frames, time)
            if frame is None:  # some containers seek to the key frame after the one they are asked for
                container.seek(self.index.timestamps[0], stream=stream)
                frames = container.decode(stream)
                frame = _frame_at(frames, time)
            if frame is None:
                raise self._missing(number)
            reached = time
            yield frame

    def _missing(self, number: int) -> VideoError:
        return VideoError(f"{self.index.path}: damaged, frame {number} of {self.total} is not there")


def _frame_at(frames: Iterator[VideoFrame], time: int) -> VideoFrame | None:
    """The frame shown at `time`, None where the first that is not before it is another."""
    frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= time), None)
    return frame if frame is not None and frame.pts == time else None
