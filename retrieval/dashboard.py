"""`python -m retrieval.dashboard entity/project`: a W&B workspace and a report of a sweep."""

import sys
from argparse import ArgumentParser

import wandb
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from retrieval.tracking.dashboard import build_report, build_workspace, check_runs


def main() -> None:
    """Write both and print where they are."""
    parser = ArgumentParser(prog="python -m retrieval.dashboard", description="Write a W&B workspace and a report.")
    parser.add_argument("path", metavar="entity/project")
    parser.add_argument("--sweep", help="show its runs alone; its name is their group")
    arguments = parser.parse_args()
    entity, separator, project = arguments.path.partition("/")
    if not (entity and separator and project) or "/" in project:
        parser.error(f"{arguments.path}: name a project as entity/project")
    try:
        check_runs(entity, project, arguments.sweep)
        for build in (build_workspace, build_report):
            print(build(entity, project, arguments.sweep).save().url)
    except WandbApiFailedError as error:
        sys.exit(f"error: the W&B server refuses: {error}; workspaces need W&B's own API, check WANDB_BASE_URL")
    except (wandb.Error, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
