"""`python -m retrieval.dashboard entity/project`: a W&B workspace and a report of a sweep."""

from argparse import ArgumentParser

from retrieval.errors import UserError
from retrieval.jobs import command_line


@command_line
def main() -> None:
    """Write both and print where they are."""
    parser = ArgumentParser(prog="python -m retrieval.dashboard", description="Write a W&B workspace and a report.")
    parser.add_argument("path", metavar="entity/project")
    parser.add_argument("--sweep", help="show its runs alone; its name is their group")
    arguments = parser.parse_args()
    entity, separator, project = arguments.path.partition("/")
    if not (entity and separator and project) or "/" in project:
        parser.error(f"{arguments.path}: name a project as entity/project")
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    from retrieval.tracking.dashboard import build_report, build_workspace, check_runs

    try:
        check_runs(entity, project, arguments.sweep)
        for build in (build_workspace, build_report):
            print(build(entity, project, arguments.sweep).save().url)
    except WandbApiFailedError as error:
        raise UserError(f"the W&B server refuses: {error}; WANDB_BASE_URL must name W&B's own API") from error
    except (wandb.Error, ValueError) as error:  # wandb's own names for a missing project, key or network
        raise UserError(str(error)) from error


if __name__ == "__main__":
    main()
