"""`python -m retrieval.benchmark <what>`: each benchmark is a module with `configure(parser)` and `run(arguments)`."""

from argparse import ArgumentParser

from retrieval.efficiency.benchmark import clustering, loading

BENCHMARKS = {"clustering": clustering, "loading": loading}


def main() -> None:
    """Run the benchmark that the command line names."""
    parser = ArgumentParser(prog="python -m retrieval.benchmark", description="Measure, and print a table.")
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, benchmark in BENCHMARKS.items():
        benchmark.configure(commands.add_parser(name, help=(benchmark.__doc__ or "").splitlines()[0]))
    arguments = parser.parse_args()
    BENCHMARKS[arguments.benchmark].run(arguments)


if __name__ == "__main__":
    main()
