"""A question to an index of random moments: the exact answer, LanceDB's vector index, and a plain product beside them.

Random vectors have no neighbourhoods: no vector index could be given harder ones.
"""

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from retrieval.efficiency import in_clean_memory, peak_memory
from retrieval.errors import UserError
from retrieval.heads import Mean
from retrieval.jobs.announcing import tell
from retrieval.search.about import About, Description
from retrieval.search.contents import Contents
from retrieval.search.cutting import Cut
from retrieval.search.lance import lancedb
from retrieval.search.moments import Filters
from retrieval.search.rows import FileRow, MomentRows
from retrieval.search.storage import Storage

TOP = 10
OF_A_FILE, OF_A_SHARD = 1000, 20
PLAIN, EXACT, INDEX = "plain product", "exact", "vector index"
Ask = Callable[[Float[Tensor, " dim"]], list[int]]
"""From a question to the numbers of the best moments."""


def run(arguments: Namespace) -> None:
    """Measure, and print the table."""
    if min(*arguments.moments, arguments.dim, arguments.questions) < 1:
        raise UserError("--moments, --dim and --questions: at least 1")
    result = Table(title=f"a question, {arguments.dim} numbers a moment, {torch.get_num_threads()} CPU threads")
    for column in ("moments", "way", "a question", "memory", f"recall@{TOP}", "made ready in"):
        result.add_column(column, justify="left" if column == "way" else "right")
    for moments in arguments.moments:
        with TemporaryDirectory(dir=arguments.folder) as folder:
            for row in rows(Path(folder, "index"), moments, arguments.dim, arguments.questions, arguments.probes):
                result.add_row(f"{moments:,}", *row)
    tell(result)


def rows(place: Path, moments: int, dim: int, questions: int, probes: int | None) -> list[tuple[str, ...]]:
    """What each way takes, in a process of its own."""
    write(place, moments, dim)
    asked = torch.randn(questions, dim, generator=torch.Generator().manual_seed(1))
    found = {way: in_clean_memory("cpu", measure, str(place), way, asked, probes) for way in (PLAIN, EXACT, INDEX)}
    best = found[EXACT][0]
    return [
        (
            way,
            f"{1000 * seconds:.1f} ms",
            f"{memory / 2**20:,.0f} MiB",
            f"{sum(len(set(mine) & set(truth)) for mine, truth in zip(numbers, best, strict=True)) / best_count:.3f}",
            f"{ready:.1f} s",
        )
        for way, (numbers, seconds, memory, ready) in found.items()
        for best_count in [sum(map(len, best))]
    ]


def write(place: Path, moments: int, dim: int) -> None:
    """An index of random moments."""
    model = Description(None, None, None, 1, 3, {"name": "even"}, None, "random vectors", "")
    storage = Storage.create(str(place), About(model, Cut(), (dim,)))
    random = torch.Generator().manual_seed(0)
    shard: list[MomentRows] = []
    for first in range(0, moments, OF_A_FILE):
        count = min(OF_A_FILE, moments - first)
        file = FileRow(f"/{first:012}.mp4", 1, 0.0, float(count), count)
        kept, numbers = torch.randn(count, dim, generator=random), list(range(count))
        starts = [float(number) for number in numbers]
        shard.append(MomentRows(file, numbers, starts, starts, kept, [b""] * count))
        if len(shard) == OF_A_SHARD or first + count == moments:
            storage.write(shard, ())
            shard = []


def measure(
    address: str, way: str, questions: Float[Tensor, "question dim"], probes: int | None
) -> tuple[list[list[int]], float, int, float]:
    """Numbers of the best moments for each question, median seconds of one, bytes on top, seconds to make it ready."""
    lancedb()  # loaded before the memory is looked at
    before, start = peak_memory("cpu", reset=True), time.perf_counter()
    ask = asking(Storage(address), way, probes)
    ask(questions[0])
    ready = time.perf_counter() - start
    numbers, seconds = [], []
    for question in questions:
        start = time.perf_counter()
        numbers.append(ask(question))
        seconds.append(time.perf_counter() - start)
    return numbers, sorted(seconds)[len(seconds) // 2], peak_memory("cpu") - before, ready


def asking(storage: Storage, way: str, probes: int | None) -> Ask:
    """How a question is answered."""
    head, filters = Mean(), Filters()
    contents = Contents(storage, way == INDEX, probes)
    if way != PLAIN:
        return lambda question: [number for _, number in contents.nearest(question[None], TOP, filters, head)[0]]
    unit = F.normalize(contents.kept, dim=-1, out=contents.kept)
    return lambda question: torch.mv(unit, F.normalize(question, dim=0)).topk(TOP).indices.tolist()
