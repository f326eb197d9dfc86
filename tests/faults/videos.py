"""140 damaged videos, and what each level of `data.check` makes of them; seeded, about 4 minutes on two cores.

The videos are written with PyAV in the codecs and containers that sets come in, and, where ../shared/clips is there,
real ones. Each is damaged in fourteen ways: bits flipped, the end cut off, a block zeroed, anywhere in the file. What a
level lets pass is compared with the frames of the whole file, all of them, as decord (the default) reads them:

- refused: a `VideoError`, when it is opened or read;
- same: every frame as in the whole file;
- slight, gross: as many frames, some of them wrong without a word. Gross is a frame of which more than 5 % of the
  pixels are off by more than 32 of 255, as one sees it: smears, grey areas, a picture of another moment;
- length: another number of frames.

Held is a video that `full` refuses, or gives as many frames of, none worse than slight. What it lets pass beyond that
is what no reader can tell: flipped or zeroed bits that a codec reads as other valid symbols, and so as another valid
picture. `BEYOND` says how many of those a codec may have here, a little more than a first run counted; one more, or a
cut that passes, is not held. So "held" is no proof that all damage is seen: the table's `gross` says what is not.
"""

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch

from retrieval.data.decoder import VideoError, open_decord
from retrieval.data.notes import Remembering

CLIPS = Path(__file__).parents[3] / "shared" / "clips" / "videos"
REAL = ("carphone.mp4", "bikes.mp4", "makeup.avi", "pancake.mkv")
COUNT = 140
FRAMES = 60
LEVELS = ("none", "header", "full")
OUTCOMES = ("refused", "same", "slight", "gross", "length")
WRITTEN = {
    "h264.mp4": ("libx264", {"threads": "1"}),
    "h264.mkv": ("libx264", {"threads": "1"}),
    "h264.ts": ("libx264", {"threads": "1"}),
    "mpeg4.avi": ("mpeg4", {"threads": "1", "b": "400k"}),
    "hevc.mp4": ("libx265", {"x265-params": "keyint=15:log-level=none:pools=none:frame-threads=1"}),
    "vp9.webm": ("libvpx-vp9", {"threads": "1", "b": "300k"}),
}
BEYOND = {"vp9": 10, "hevc": 3, "h264": 2, "mpeg4": 2}
Damage = Callable[[bytearray, random.Random], None]


def flipped(bits: int) -> Damage:
    def damage(data: bytearray, luck: random.Random) -> None:
        for _ in range(bits):
            data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)

    return damage


def cut(share: float) -> Damage:
    def damage(data: bytearray, luck: random.Random) -> None:
        del data[int(len(data) * (share - luck.uniform(0, 0.02))) :]

    return damage


def zeroed(size: int) -> Damage:
    def damage(data: bytearray, luck: random.Random) -> None:
        start = luck.randrange(len(data) - size)
        data[start : start + size] = bytes(size)

    return damage


KINDS: dict[str, Damage] = {
    **{f"{bits} bits flipped": flipped(bits) for bits in (1, 2, 3, 4, 8, 16, 64)},
    **{f"cut at {share:.0%}": cut(share) for share in (0.3, 0.6, 0.9, 1.0)},
    **{f"{size} bytes zeroed": zeroed(size) for size in (64, 512, 4096)},
}


def write(path: Path, codec: str, options: dict[str, str]) -> None:
    """A soft picture that moves, 60 frames with a key frame every 15."""
    size, count = (120, 160), FRAMES
    noise = torch.from_numpy(np.random.default_rng(0).normal(128, 60, (1, 3, 12, 12)).astype(np.float32))
    wide = torch.nn.functional.interpolate(noise, (size[0] + count, size[1] + count), mode="bicubic")[0]
    picture = wide.permute(1, 2, 0).clamp(0, 255).byte().numpy()
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=15)
        stream.height, stream.width, stream.pix_fmt, stream.options = *size, "yuv420p", {"g": "15"} | options
        for step in range(count):
            moved = np.ascontiguousarray(picture[step : step + size[0], step : step + size[1]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())


def frames(path: Path, check: str) -> np.ndarray | None:
    """All frames in grey, [frame, height, width]; None where the level refuses the file."""
    try:
        video = Remembering(lambda path: open_decord(path, None, check), check)(path)
        parts = [video.read(range(video.total)[start : start + 64]) for start in range(0, video.total, 64)]
    except VideoError:
        return None
    return np.concatenate([part[:, 1].numpy() for part in parts])  # green is most of the grey


def outcome(read: np.ndarray | None, whole: np.ndarray) -> str:
    """What became of a damaged video's frames; see above."""
    if read is None:
        return "refused"
    if len(read) != len(whole):
        return "length"
    if read.shape != whole.shape:
        return "gross"
    if np.array_equal(read, whole):
        return "same"
    off = np.abs(read.astype(np.int16) - whole) > 32
    return "gross" if off.mean((1, 2)).max() > 0.05 else "slight"


def try_all(folder: Path) -> tuple[dict[str, Counter[str]], int]:
    """Every damaged video at every level: the outcomes by level, and how many were not held."""
    for name, (codec, options) in WRITTEN.items():
        write(folder / name, codec, options)
    sources = [folder / name for name in WRITTEN] + [CLIPS / name for name in REAL if (CLIPS / name).is_file()]
    whole = {source: frames(source, "full") for source in sources}
    luck, lost = random.Random(0), 0
    passed: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = {level: Counter() for level in LEVELS}
    kinds = list(KINDS.items())
    for number in range(COUNT):
        source = sources[number % len(sources)]
        kind, damage = kinds[number // len(sources) % len(kinds)]
        data = bytearray(source.read_bytes())
        damage(data, luck)
        path = folder / f"damaged{source.suffix}"
        path.write_bytes(data)
        results = {level: outcome(frames(path, level), whole[source]) for level in LEVELS}
        for level, result in results.items():
            counts[level][result] += 1
        if results["full"] in ("gross", "length"):
            codec = codec_of(source)
            passed[codec] += 1
            is_lost = passed[codec] > BEYOND[codec] or kind.startswith("cut")
            lost += is_lost
            print(
                f"{'not held' if is_lost else 'beyond'}: {source.name} ({codec}), {kind}: {results['full']}", flush=True
            )
    return counts, lost


def codec_of(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.name.removeprefix("lib")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        counts, lost = try_all(Path(folder))
    print(f"{'data.check':<12}" + "".join(f"{name:>9}" for name in OUTCOMES))
    for level, outcomes in counts.items():
        print(f"{level:<12}" + "".join(f"{outcomes[name]:>9}" for name in OUTCOMES))
    beyond = counts["full"]["gross"] + counts["full"]["length"] - lost
    print(f"{beyond} of those held are wrong and passed full all the same, within the bounds of {BEYOND}")
    print(f"videos: held {COUNT - lost} of {COUNT}")
    sys.exit(lost > 0)


if __name__ == "__main__":
    main()
