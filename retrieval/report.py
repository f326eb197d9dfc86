"""`python -m retrieval.report <sweep folder>`: a sweep as CSV, Markdown and pictures."""

from argparse import ArgumentParser
from pathlib import Path

from retrieval.jobs import command_line


@command_line
def main() -> None:
    """Run the job."""
    parser = ArgumentParser("python -m retrieval.report", description="Tell what a sweep has found.")
    parser.add_argument("folder", type=Path, help="the sweep's, such as runs/sweeps/ablation")
    parser.add_argument("--no-latency", action="store_true", help="leave out latency, which is measured here and now")
    parser.add_argument(
        "--off-the-shelf", action="store_true", help="measure too what the unreduced models lose with each reducer"
    )
    parser.add_argument("--config-dir", type=Path, help="your own conf, if jobs were made with reducers that it names")
    arguments = parser.parse_args()
    from retrieval.sweeps.report import write_report
    from retrieval.training.building import import_own

    if arguments.config_dir is not None:
        import_own(arguments.config_dir)
    latency, shelf = not arguments.no_latency, arguments.off_the_shelf
    print(*write_report(arguments.folder, latency, shelf, arguments.config_dir), sep="\n")


if __name__ == "__main__":
    main()
