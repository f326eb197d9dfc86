"""Miniatures of the five published sets in their on-disk layout: generated videos, made-up ids and captions.

Files, columns and the shape of the ids are those of the sets; the real annotation files are no part of the repository.
"""

import csv
import json
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from retrieval.data.corpora.moving_shapes import encode

ANNOTATIONS = Path(__file__).parents[2] / "shared" / "annotations"
TRAIN, VAL, TEST = 8, 4, 5
MSVD_CAPTIONS = (41, 38, 40, 39, 43)  # of the first, second … video of a split
DIDEMO_NAMES = ("000@N08_100200300_d5dd.mov", "111@N02_10020030_87ef.m4v")


def write_videos(paths: Iterable[Path]) -> None:
    """A tiny H.264 file at each path, each of its own colour that gets brighter."""
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = np.random.default_rng(number).integers(0, 200, 3)
        frames = np.stack([np.broadcast_to(colour + 5 * step, (48, 64, 3)) for step in range(8)])
        encode(path, frames.astype(np.uint8), fps=8)


def msrvtt(root: Path) -> None:
    train = [f"video{number}" for number in range(TRAIN)]
    test = [
        {"key": f"ret{i}", "vid_key": f"msr{9770 + i}", "video_id": f"video{9770 + i}", "sentence": f"dish {i}, cooked"}
        for i in range(TEST)
    ]
    with (root / "MSRVTT_JSFUSION_test.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, test[0])
        table.writeheader()
        table.writerows(test)
    (root / "MSRVTT_train.9k.csv").write_text("\n".join(["video_id", *train]) + "\n")
    (root / "MSRVTT_train.7k.csv").write_text("\n".join(["video_id", *train[:-1]]))
    ids = [*train, *(row["video_id"] for row in test)]
    splits = ["train"] * (TRAIN - 1) + ["validate"] + ["test"] * TEST
    videos = [{"video_id": name, "category": 9, "split": split} for name, split in zip(ids, splits, strict=True)]
    texts = [(name, f"a person is doing thing {number}") for name in ids for number in range(20)]
    sentences = [{"sen_id": i, "video_id": name, "caption": text} for i, (name, text) in enumerate(texts)]
    (root / "MSRVTT_data.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    write_videos(root / "videos" / "all" / f"{name}.mp4" for name in ids)


def msvd(root: Path) -> None:
    captions = {}
    for split, count in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        ids = [f"-{split}Q_4a{number}_{number}_{number + 9}" for number in range(count)]
        (root / f"{split}_list.txt").write_text("\n".join(ids))
        for name, number in zip(ids, MSVD_CAPTIONS * 2, strict=False):
            captions[name] = [["a", "man", "is", "doing", str(i)] for i in range(number)]
    (root / "raw-captions.pkl").write_bytes(pickle.dumps(captions, protocol=2))
    write_videos(root / "MSVD_Videos" / f"{name}.avi" for name in captions)


def lsmdc(root: Path) -> None:
    clips: list[str] = []
    for table, count in (("challenge_1000_publictect", TEST), ("annos_training", TRAIN), ("annos_val", VAL)):
        ids = [f"30{len(clips) + i}_MADE_UP_00.2{i}.23.000-00.2{i}.28.886" for i in range(count)]
        lines = [f"{name}\t00.23\t00.28\t00.23\t00.28\tSOMEONE waits for {name[:4]}." for name in ids]
        (root / f"LSMDC16_{table}.csv").write_text("\n".join(lines) + "\n")
        clips += ids
    write_videos(root / "avi" / clip.rpartition("_")[0] / f"{clip}.avi" for clip in clips)


def didemo(root: Path) -> None:
    names = []
    for split, count in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        videos = [f"{len(names) + i}{DIDEMO_NAMES[i % 2]}" for i in range(count)]
        names += videos
        entries = [
            {"video": video, "num_segments": 6, "description": f"moment {i} of {video[:2]}.", "times": [[i, i]]}
            for i in range(5)
            for video in videos
        ]
        (root / f"{split}_data.json").write_text(json.dumps(entries))
    write_videos(root / "videos" / (f"{name}.mp4" if i % 3 else f"{name[:-4]}.avi") for i, name in enumerate(names))


def activitynet(root: Path) -> None:
    ids = []
    for name, count in (("train.json", TRAIN), ("val_1.json", TEST)):
        part = {
            f"v_{name[:2]}X-{i}_aQ": {
                "duration": 82.73,
                "timestamps": [[0.83, 19.86], [17.37, 60.81]],
                "sentences": [f"A person waits {i} times.", f" They leave by the {name[:3]} door. "],
            }
            for i in range(count)
        }
        (root / name).write_text(json.dumps(part))
        ids += part
    write_videos(root / "Activity_Videos" / f"{name}{'.mkv' if i % 2 else '.mp4'}" for i, name in enumerate(ids))


MINIATURES: dict[str, Callable[[Path], None]] = {
    "msrvtt": msrvtt,
    "msvd": msvd,
    "lsmdc": lsmdc,
    "didemo": didemo,
    "activitynet": activitynet,
}
