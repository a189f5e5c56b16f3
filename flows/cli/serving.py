"""The command lines of whoever keeps this running."""

from typing import TYPE_CHECKING

from flows.cli.options import as_json, command

if TYPE_CHECKING:
    from flows.cli.options import Commands, Parser


def add(commands: "Commands") -> None:
    """Add these commands."""
    _serve(commands)
    _doctor(commands)


def _serve(commands: "Commands") -> None:
    serve = command(
        commands,
        "serve",
        "run Prefect, a worker and MLflow on this machine, with the night on its schedule",
        "gradeline serve --cron '30 1 * * *' --timezone Europe/London",
    )
    _port(serve, "prefect", "Prefect", 4200)
    _port(serve, "mlflow", "MLflow", 5000)
    serve.add_argument(
        "--at-once",
        type=int,
        default=2,
        metavar="N",
        help="flow runs that are started at once; one changes the workspace, the others wait "
        "for it (default: 2)",
    )
    serve.add_argument(
        "--cron",
        metavar="CRON",
        help="when the night runs (default: as prefect.yaml says, 02:00 every day)",
    )
    serve.add_argument("--timezone", default="UTC", metavar="ZONE", help="of --cron (default: UTC)")
    serve.add_argument(
        "--no-deploy",
        dest="deploy",
        action="store_false",
        help="leave the deployments on the server as they are",
    )
    as_json(serve)


def _port(serve: "Parser", name: str, owner: str, default: int) -> None:
    serve.add_argument(
        f"--{name}-port",
        type=int,
        default=default,
        metavar="PORT",
        help=f"of {owner}'s pages (default: {default})",
    )


def _doctor(commands: "Commands") -> None:
    doctor = command(
        commands,
        "doctor",
        "check this machine and the workspace, and say what to do about each fault",
        "gradeline doctor --json",
    )
    as_json(doctor)
