"""The command line: `metseg segment`, `watch`, `jobs`, `review`, `followup`, `models`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import get_args

from metseg.cli import followup, jobs, models, review, segment, watch
from metseg.cli.exit_codes import ExitCode
from metseg.cli.formats import DEFAULT
from metseg.contracts import DISCLAIMER, Align, SequenceChoice
from metseg.errors import MetsegError
from metseg.results.exports import EXPORTS

__all__ = ["main"]

SERVER = "http://127.0.0.1:8000"
EPILOG = (
    "exit codes: 0 done, 1 something failed, 2 the command line is invalid, 3 the server does not respond, "
    f"4 the server refuses the API key, 130 interrupted. {DISCLAIMER}"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; if it fails, print one line to stderr and return the exit code of its cause."""
    parsed = _parser().parse_args(arguments)
    try:
        code: ExitCode = parsed.command(parsed)
    except MetsegError as error:
        print(f"metseg: {error.detail}", file=sys.stderr)
        return ExitCode.of(error)
    except KeyboardInterrupt:
        print("metseg: stopped.", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # `metseg jobs list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("metseg", description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("segment", help="segment studies, each into its own folder", epilog=EPILOG)
    add.add_argument("studies", type=Path, nargs="+", metavar="STUDY", help="a file, a folder of slices, or a ZIP")
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets a folder of results per study")
    _segment_options(add)
    add.add_argument("--patient", metavar="NAME", help="whose studies they are, a pseudonym, for metseg followup")
    add.add_argument(
        "--taken-on", type=date.fromisoformat, metavar="DATE", help="when the study was acquired, such as 2026-01-31"
    )
    add.set_defaults(command=segment.run)
    _watch(commands.add_parser("watch", help="segment the studies that arrive in a folder", epilog=EPILOG))
    _jobs(commands.add_parser("jobs", help="list, show, wait for and delete jobs", epilog=EPILOG))
    _review(commands.add_parser("review", help="change a job's answer, or return to the model's own", epilog=EPILOG))
    _followup(commands.add_parser("followup", help="compare the studies of a patient", epilog=EPILOG))
    _models(commands.add_parser("models", help="list, show and promote model versions", epilog=EPILOG))
    return parser


def _segment_options(add: argparse.ArgumentParser) -> None:
    """The options for segmenting."""
    _server(add)
    add.add_argument("--model", metavar="VERSION", help="default: the champion")
    add.add_argument("--threshold", type=float, metavar="T", help="from 0 to 1; default: the model's own")
    add.add_argument(
        "--sequence", choices=get_args(SequenceChoice), default="auto",
        help="of studies of one grey image; auto: their names, headers or pixels decide; default: %(default)s",
    )  # fmt: skip
    add.add_argument(
        "--align", choices=get_args(Align), default="rigid",
        help="volumes on different grids: rigid registers them, none trusts their headers; default: %(default)s",
    )  # fmt: skip
    add.add_argument("--uncertainty", action="store_true", help="also compute an uncertainty map")
    add.add_argument("--deidentify", action="store_true", help="remove identities from DICOM before it is stored")
    add.add_argument(
        "--formats", default=DEFAULT, metavar="LIST", help=f"some of {', '.join(EXPORTS)}; default: %(default)s"
    )
    add.add_argument(
        "--margin", type=float, default=0, metavar="MM", help="of rtstruct: of a PTV around each GTV; default: none"
    )
    add.add_argument("--parallel", type=int, default=2, metavar="N", help="jobs at a time; default: %(default)s")
    add.add_argument("--local", action="store_true", help="segment in this process, without a server")
    add.add_argument("--model-dir", type=Path, metavar="DIR", help="for --local: the folder of a model or of a store")


def _server(add: argparse.ArgumentParser) -> None:
    default = os.environ.get("METSEG_GATEWAY_URL") or SERVER
    add.add_argument("--server", default=default, metavar="URL", help="default: METSEG_GATEWAY_URL, or %(default)s")
    add.add_argument("--key-file", type=Path, metavar="FILE", help="contains the API key; default: METSEG_API_KEY")


def _watch(add: argparse.ArgumentParser) -> None:
    add.add_argument("folder", type=Path, metavar="IN", help="each file or folder in it is a study")
    add.add_argument("out", type=Path, metavar="OUT", help="gets a folder of results per study")
    _segment_options(add)
    add.add_argument(
        "--quiet", type=float, default=10.0, metavar="SECONDS",
        help="a study is complete when it has not changed for this long; default: %(default)g",
    )  # fmt: skip
    add.add_argument("--marker", metavar="NAME", help="a study is complete when its folder contains this file")
    add.add_argument("--poll", type=float, default=2.0, metavar="SECONDS", help="between scans; default: %(default)g")
    add.add_argument("--keep", action="store_true", help="leave studies in place instead of moving them")
    add.add_argument("--once", action="store_true", help="exit when nothing is left to do")
    add.set_defaults(command=watch.run, patient=None, taken_on=None)


def _jobs(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = _command(commands, "list", "the newest jobs", jobs.list_jobs)
    add.add_argument("--limit", type=int, default=20, metavar="N", help="default: %(default)s")
    add.add_argument("--everyone", action="store_true", help="the jobs of all keys, for an admin")
    _command(commands, "show", "one job", jobs.show).add_argument("job", metavar="JOB")
    _command(commands, "wait", "wait for a job to end", jobs.wait).add_argument("job", metavar="JOB")
    for name in ("cancel", "delete"):
        add = _command(commands, name, "cancel jobs; delete their inputs and results", jobs.delete, as_json=False)
        add.add_argument("jobs", nargs="+", metavar="JOB")


def _review(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, about, command in (
        ("show", "the review in force", review.show),
        ("history", "all reviews of a job, newest first", review.history),
        ("withdraw", "return to the model's own answer", review.withdraw),
    ):
        _command(commands, name, about, command).add_argument("job", metavar="JOB")
    add = _command(commands, "apply", "replace the review by one in a JSON file", review.apply)
    add.add_argument("job", metavar="JOB")
    add.add_argument("file", type=Path, metavar="FILE", help="as `metseg review show --json` prints under `review`")
    add = _command(commands, "reject", "reject lesions, by their numbers in the result", review.reject)
    add.add_argument("job", metavar="JOB")
    add.add_argument("lesions", type=int, nargs="+", metavar="NUMBER")
    about = "download reviewed studies that may be used for training, as a folder for the trainer"
    add = _command(commands, "collect", about, review.collect, as_json=False)
    add.add_argument("folder", type=Path, metavar="OUT")


def _followup(parser: argparse.ArgumentParser) -> None:
    _server(parser)
    parser.add_argument(
        "studies", nargs="+", metavar="STUDY", help="the patient, as submitted; or two or more jobs, oldest first"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report to print, HTML")
    parser.add_argument("--sr", type=Path, metavar="FILE", help="write a DICOM structured report, of DICOM studies")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=followup.run)


def _models(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _command(commands, "list", "all versions; an asterisk marks the champion", models.list_models)
    _command(commands, "show", "the card of a version", models.show).add_argument("version", metavar="VERSION")
    add = _command(commands, "promote", "put a version into service, newer or older", models.promote, as_json=False)
    add.add_argument("version", metavar="VERSION")
    add.add_argument("--yes", action="store_true", help="without confirmation")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    about: str,
    command: Callable[[argparse.Namespace], ExitCode],
    as_json: bool = True,
) -> argparse.ArgumentParser:
    add = commands.add_parser(name, help=about, epilog=EPILOG)
    _server(add)
    if as_json:
        add.add_argument("--json", action="store_true", help="as JSON")
    add.set_defaults(command=command)
    return add
