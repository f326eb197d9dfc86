"""400 mutations of captions' tables and of published sets' annotations: one clear line each, or nothing lost.

Lost is what was there before and is gone without a word: a caption that the mutation did not touch, in a table whose
reading raised nothing. A raw error is any that is not the user's one line with the file's name.
"""

import contextlib
import io
import json
import logging
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from retrieval.data.corpora import LSMDC, MSRVTT, MSVD, ActivityNet, Corpus, DiDeMo, Folder
from retrieval.errors import UserError
from tests.miniatures import MINIATURES

ROWS = 36
PER_FILE = 50
SETS: dict[str, tuple[Callable[[Path], Corpus], str]] = {
    "msrvtt": (MSRVTT, "MSRVTT_JSFUSION_test.csv"),
    "lsmdc": (LSMDC, "LSMDC16_challenge_1000_publictect.csv"),
    "didemo": (DiDeMo, "test_data.json"),
    "activitynet": (ActivityNet, "val_1.json"),
    "msvd": (MSVD, "raw-captions.pkl"),
}
PIECES = (b'"', b"'", b",", b"\t", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"{", b"}", b"[", b"]", b":", b"\\")
LONG = (
    b"x" * 140_000,
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"9" * 5_000,
    b"NaN",
    b"1e999",
    b'"\\ud800"',
    b"../../etc/passwd",
)


def mutated(data: bytes, random_: random.Random) -> tuple[str, bytes]:
    """One mutation, and its name."""
    place = random_.randrange(len(data))
    end = min(len(data), place + random_.randrange(1, 200))
    lines = data.split(b"\n")
    line = random_.randrange(len(lines))
    piece = random_.choice(PIECES)
    ways: dict[str, Callable[[], bytes]] = {
        "open quote": lambda: b"\n".join([*lines[:line], lines[line].replace(b",", b',"', 1), *lines[line + 1 :]]),
        "inserted sign": lambda: data[:place] + piece + data[place:],
        "inserted long": lambda: data[:place] + random_.choice(LONG) + data[place:],
        "flipped bit": lambda: data[:place] + bytes([data[place] ^ 1 << random_.randrange(8)]) + data[place + 1 :],
        "cut out": lambda: data[:place] + data[end:],
        "cut off": lambda: data[:place],
        "doubled": lambda: data[:place] + data[place:end] * 2 + data[end:],
        "line twice": lambda: b"\n".join([*lines[: line + 1], *lines[line:]]),
        "UTF-16": lambda: data.decode(errors="replace").encode("utf-16"),
        "Latin-1": lambda: data.replace(b"a", "é".encode("latin-1"), 1),
    }
    name = random_.choice(list(ways))
    return name, ways[name]()


def captions(corpus: Corpus) -> list[str]:
    """All captions of the test split, with their videos'; what is read is also told."""
    return sorted(f"{record.video_id}\t{text}" for record in corpus.records("test") for text in record.captions)


def rows_in(name: str, data: bytes) -> int | None:
    """How many rows a table has by its lines, blank ones left out; None where a line is no row."""
    if name.endswith((".csv", ".jsonl")):
        lines = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        full = [line for line in lines if (line.strip() if "LSMDC" in name or name.endswith(".jsonl") else line)]
        return len(full) - (name.endswith(".csv") and "LSMDC" not in name)
    return None


def outcome(name: str, build: Callable[[], Corpus], path: Path) -> str:
    """`refused`, `read`, `lost`, or the name of a raw error."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found = captions(build())
    except UserError as error:
        return "refused" if "\n" not in str(error) else "several lines"
    except Exception as error:
        return type(error).__name__
    rows = rows_in(name, path.read_bytes())
    return "read" if rows is None or len(found) == rows else "lost"


def own_tables(folder: Path) -> dict[str, Callable[[], Corpus]]:
    """A folder of videos with the same table in each form that we read."""
    rows = [
        {"video": f"v{row // 3}.mp4", "caption": f"caption {row}, with a comma", "start": ""} for row in range(ROWS)
    ]
    lines = [f'{row["video"]},"{row["caption"]}",{row["start"]}' for row in rows]
    (folder / "captions.csv").write_text("\n".join(["video,caption,start", *lines]) + "\n")
    plain = [f"{row['video']},{row['caption'].replace(',', '')}" for row in rows]
    (folder / "plain.csv").write_text("\n".join(["video,caption", *plain]) + "\n")
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    names = ("captions.csv", "plain.csv", "captions.jsonl")
    return {name: lambda name=name: Folder(folder, name) for name in names}  # type: ignore[misc]


def main() -> None:
    """Mutate, read, and say how it came out."""
    logging.getLogger("retrieval").setLevel(logging.CRITICAL)
    random_ = random.Random(0)
    held = tried = 0
    with tempfile.TemporaryDirectory() as place:
        tables = {name: (Path(place, name), build) for name, build in own_tables(Path(place)).items()}
        for name, (corpus, file) in SETS.items():
            root = Path(place, name)
            root.mkdir()
            MINIATURES[name](root)
            tables[file] = (next(root.rglob(file)), lambda corpus=corpus, root=root: corpus(root))  # type: ignore[misc]
        for name, (path, build) in tables.items():
            whole, found = path.read_bytes(), []
            assert outcome(name, build, path) == "read", name
            for _ in range(PER_FILE):
                kind, changed = mutated(whole, random_)
                path.write_bytes(changed)
                found.append(outcome(name, build, path))
                if found[-1] not in ("refused", "read"):
                    print(f"{name}: {kind}: {found[-1]}")
            path.write_bytes(whole)
            counts = {each: found.count(each) for each in dict.fromkeys(found)}
            print(f"{name}: {len(found)} mutations: {', '.join(f'{n} {each}' for each, n in counts.items())}")
            held, tried = held + sum(each in ("refused", "read") for each in found), tried + len(found)
    print(f"tables: held {held} of {tried}")
    sys.exit(held < tried)


if __name__ == "__main__":
    main()
