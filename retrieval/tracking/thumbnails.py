"""Small pictures of videos for W&B: a middle frame each, read as evaluation reads it."""

from collections.abc import Sequence
from functools import cache

import wandb
from jaxtyping import UInt8
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from retrieval.data.dataset import EvaluationVideos
from retrieval.data.decoder import VideoError

GAP = 8


class Thumbnails:
    """Each video is read once, however often it is shown.

    Args:
        videos: the split's.
        size: width and height in pixels.
    """

    def __init__(self, videos: EvaluationVideos, size: int) -> None:
        self.videos, self.size = videos, size
        self.picture = cache(self._middle_frame)

    def image(self, video: int, note: str = "") -> wandb.Image | None:
        """The picture over the video's name and a note; None, with a warning, where it cannot be read."""
        picture, name = self.picture(video), self.videos.records[video].video_id
        return None if picture is None else wandb.Image(picture, caption=name + note, file_type="jpg")

    def strip(self, videos: Sequence[int]) -> Image.Image:
        """The right video, a gap, and those that were found for it; white where one cannot be read.

        Args:
            videos: the right one first.
        """
        side = self.size
        strip = Image.new("RGB", (side * len(videos) + GAP, side), "white")
        for place, video in enumerate(videos):
            if picture := self.picture(video):
                strip.paste(picture, (side * place + GAP * (place > 0), 0))
        return strip

    def frames(self, video: int) -> UInt8[Tensor, "frame 3 height width"] | None:
        """What evaluation reads of a video; None, with a warning, where it cannot be read."""
        record = self.videos.records[video]
        try:
            return self.videos.reader(record)
        except VideoError as error:
            rank_zero_warn(f"W&B: no picture of {record.video_id}: {error}")
            return None

    def _middle_frame(self, video: int) -> Image.Image | None:
        frames = self.frames(video)
        return None if frames is None else to_pil_image(frames[len(frames) // 2]).resize((self.size, self.size))
