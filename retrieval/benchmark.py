"""`python -m retrieval.benchmark <what>`: our loading of videos, clustering, ranks or search beside other ways."""

from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

from retrieval.jobs import command_line


@command_line
def main() -> None:
    """Run the benchmark that the command line names; each is a module with `run(arguments)`."""
    parser = ArgumentParser(prog="python -m retrieval.benchmark", description="Measure, and print a table.")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    clustering = "our clustering beside the published procedure: time, peak memory, and whether the medoids agree"
    configure_clustering(benchmarks.add_parser("clustering", help=clustering))
    loading = "videos per second from video files and from stored frames, beside what the model consumes"
    configure_loading(benchmarks.add_parser("loading", help=loading))
    ranks = "ranks of both directions counted over blocks, beside those of a whole matrix that is sorted"
    configure_ranks(benchmarks.add_parser("ranks", help=ranks))
    search = "a question to 10 thousand, 200 thousand and 1 million moments: time, memory and recall, beside a product"
    configure_search(benchmarks.add_parser("search", help=search))
    arguments = parser.parse_args()
    import_module(f"retrieval.efficiency.benchmark.{arguments.benchmark}").run(arguments)


def configure_clustering(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, of which the best counts (default 3)")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: the CPU, and CUDA where there is one")


def configure_loading(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--videos", type=Path, help="a folder of videos; default: generated ones of 10 s, 320 x 240")
    parser.add_argument("--count", type=int, default=16, help="videos that are generated (default 16)")
    parser.add_argument("--frames", type=int, default=12, help="frames per video (default 12)")
    parser.add_argument("--workers", type=int, nargs="+", help="worker counts (default 0, 1, 2, 4 … up to the cores)")
    parser.add_argument("--backbone", default="ViT-B-32", help="the model that consumes (default ViT-B-32)")
    parser.add_argument("--batch-size", type=int, default=8, help="videos per training step (default 8)")


def configure_ranks(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--videos", type=int, default=10_000, help="how many (default 10,000)")
    parser.add_argument("--captions", type=int, default=20_000, help="how many (default 20,000)")
    parser.add_argument("--dim", type=int, default=512, help="numbers of a feature (default 512)")
    parser.add_argument("--no-sorting", action="store_true", help="ours alone, where the matrix would not fit")


def configure_search(parser: ArgumentParser) -> None:
    """Declare the options."""
    sizes = [10_000, 200_000, 1_000_000]
    parser.add_argument("--moments", type=int, nargs="+", default=sizes, help="how many (default 10000 200000 1000000)")
    parser.add_argument("--dim", type=int, default=512, help="numbers of a moment (default 512)")
    parser.add_argument("--questions", type=int, default=50, help="questions of which the median counts (default 50)")
    parser.add_argument("--probes", type=int, help="partitions of the vector index to look through (default: all)")
    parser.add_argument("--folder", type=Path, help="where the indexes are written meanwhile (default: the system's)")


if __name__ == "__main__":
    main()
