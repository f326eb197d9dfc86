"""`python -m retrieval.serve`: a web page to ask an index of videos, and the same answers as JSON."""

import sys

from omegaconf import DictConfig

from retrieval.errors import UserError
from retrieval.jobs import job
from retrieval.jobs.typed import as_typed


@job("serve")
def serve(config: DictConfig) -> None:
    """Run the job."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        from retrieval.search.lance import INSTALL

        raise UserError(f"the page needs Gradio: {INSTALL} ({error})") from error
    from retrieval.search.page.app import run_serve

    run_serve(config)


def main() -> None:
    """Run the job, with the index's name as it was typed."""
    sys.argv[1:] = as_typed(sys.argv[1:], ("index",))
    serve()


if __name__ == "__main__":
    main()
