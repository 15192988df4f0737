"""The command line of the trainer: run, runs, frontier, familiarity, audit, download, phantom."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from metseg.errors import DatasetError, MetsegError
from metseg.parallel import cpu_quota
from metseg.settings import settings
from metseg.storage import ObjectStore, open_store
from metseg_trainer.data import dataset, download, phantoms
from metseg_trainer.export import frontier, model_selection, out_of_distribution
from metseg_trainer.export.publish import Outcome
from metseg_trainer.networks import NETWORKS
from metseg_trainer.runs import cross_validation, run_store
from metseg_trainer.runs.plan import BY_PATIENT, BY_SLICE, draw_up
from metseg_trainer.runs.run import run
from metseg_trainer.training import checkpoints
from metseg_trainer.training.config import PRESETS

INPUTS_PX = (128, 192, 256)
"""Sides of a whole slice in model pixels that a run can be given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, `run` where it names no command; 1 and one line on stderr if it cannot be done."""
    told = list(sys.argv[1:] if arguments is None else arguments)
    if not told or (told[0].startswith("-") and told[0] not in ("-h", "--help")):
        told.insert(0, "run")
    options = _parser().parse_args(told)
    try:
        options.command(options)
    except MetsegError as error:
        print(f"metseg-trainer: {error.detail}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("metseg-trainer: stopped; the same command with --resume goes on.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("metseg-trainer", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("run", help="train, compare, export, register and promote")
    add.add_argument("--data", type=Path, default=_data_folder(), help="slices and masks (default: %(default)s)")
    add.add_argument("--runs", type=Path, default=_runs_folder(), help="where runs lie (default: %(default)s)")
    add.add_argument("--name", help="of the run (default: the time)")
    add.add_argument("--resume", action="store_true", help="go on with the run of that name, or with the newest")
    add.add_argument("--preset", choices=PRESETS, default="standard", help="default: %(default)s")
    add.add_argument("--epochs", type=_count, help="other than the preset's")
    add.add_argument("--base-width", type=_count, help="feature channels at full resolution, other than the preset's")
    add.add_argument("--input-px", type=int, choices=INPUTS_PX, help="side of a whole slice as fed (default: 128)")
    add.add_argument("--start", type=Path, help="folder of an earlier run, whose networks are trained further")
    add.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="default: both")
    add.add_argument(
        "--promote", choices=("better", "always", "never"), default="better",
        help="put the winner into service if it beats the champion on the same patients (default), always or never",
    )  # fmt: skip
    add.add_argument("--threads", type=int, help="of the CPU (default: all that this container may use)")
    add.add_argument("--devices", type=int, help="processes that share each batch (default: one for each GPU)")
    add.add_argument(
        "--train-only", action="store_true",
        help="leave figures and export to a later --resume; several of one --name may run at once, each with other "
        "--networks",
    )  # fmt: skip
    way = add.add_mutually_exclusive_group()
    way.add_argument("--folds", type=int, help="cross-validate by patient; exports nothing")
    way.add_argument("--leave-site-out", metavar="SITE", help="train without a site and test on it, or `all` in turn")
    way.add_argument(
        "--split", choices=(BY_PATIENT, BY_SLICE), default=BY_PATIENT,
        help="`slice` puts slices of one patient on several sides to measure what that leak is worth; exports nothing",
    )  # fmt: skip
    add.set_defaults(command=_run)
    add = commands.add_parser("runs", help="list the runs, or compare two of them on their common test patients")
    add.add_argument("--runs", type=Path, default=_runs_folder(), help="where runs lie (default: %(default)s)")
    add.add_argument("names", nargs="*", metavar="RUN", help="two to compare")
    add.set_defaults(command=_runs)
    add = commands.add_parser("frontier", help="prune and quantise a run's networks, and choose which variant to serve")
    add.add_argument("--data", type=Path, default=_data_folder(), help="of the runs (default: %(default)s)")
    add.add_argument("--runs", type=Path, default=_runs_folder(), help="where runs lie (default: %(default)s)")
    add.add_argument("--threads", type=int, default=2, help="that one inference may use (default: %(default)s)")
    add.add_argument("names", nargs="+", metavar="RUN", help="the run, and further ones of other sizes on its split")
    add.set_defaults(command=_frontier)
    add = commands.add_parser(
        "familiarity", help="give the card of an earlier version what tells input unlike its data"
    )
    add.add_argument("version", type=Path, help="folder with card.json and the models")
    add.add_argument("--data", type=Path, default=_data_folder(), help="that it learned from (default: %(default)s)")
    add.add_argument(
        "--seed", type=int, default=PRESETS["full"].seed, help="that its split was drawn with (default: %(default)s)"
    )
    add.set_defaults(command=_familiarity)
    add = commands.add_parser("audit", help="read a folder and say what can be used of it")
    add.add_argument("data", type=Path, nargs="?", default=_data_folder())
    add.set_defaults(command=_audit)
    add = commands.add_parser("download", help="fetch the public data set")
    add.add_argument("folder", type=Path)
    add.set_defaults(command=_download)
    add = commands.add_parser("phantom", help="draw a data set of head phantoms")
    add.add_argument("folder", type=Path)
    add.add_argument("--patients", type=int, default=12)
    add.add_argument("--seed", type=int, default=0)
    add.set_defaults(command=_phantom)
    return parser


def _count(text: str) -> int:
    """A whole number from 1 on."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _data_folder() -> Path:
    return Path(os.environ.get("DATA_DIR", "data"))


def _runs_folder() -> Path:
    return Path(os.environ.get("RUNS_DIR", "runs"))


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads or cpu_quota())
    store = _store()
    folder = options.runs / _name(options)
    with checkpoints.explained(folder):
        outcome = _outcome(options, folder, store)
    if outcome is not None:
        print(f"Report: {outcome.folder / 'report.html'}")


def _outcome(options: argparse.Namespace, folder: Path, store: ObjectStore | None) -> Outcome | None:
    plan = draw_up(
        options.data, folder, preset=options.preset, networks=options.networks, epochs=options.epochs,
        base_width=options.base_width, input_px=options.input_px, start=options.start, split_by=_split_by(options),
        devices=options.devices,
    )  # fmt: skip
    print(plan.audit.text())
    if options.folds is not None:
        return cross_validation.cross_validate(plan, options.folds, store, train_only=options.train_only)
    if options.leave_site_out is not None:
        return cross_validation.leave_sites_out(plan, options.leave_site_out, store, train_only=options.train_only)
    return run(plan, options.promote, store, train_only=options.train_only)


def _split_by(options: argparse.Namespace) -> str:
    if options.folds is not None:
        return f"{options.folds} folds"
    return str(options.split) if options.leave_site_out is None else f"site {options.leave_site_out}"


def _runs(options: argparse.Namespace) -> None:
    listed = {run.name: run for run in run_store.runs(options.runs, _store())}
    if not options.names:
        print(run_store.table(list(listed.values())))
        return
    if len(options.names) != 2 or (unknown := [name for name in options.names if name not in listed]):
        wrong = "Name two runs to compare." if len(options.names) != 2 else f"There is no finished run {unknown[0]}."
        raise DatasetError(f"{wrong} Known are: {', '.join(listed) or 'none'}.")
    print(run_store.compare(*(listed[name] for name in options.names)))


def _frontier(options: argparse.Namespace) -> None:
    first, *others = (options.runs / name for name in options.names)
    print(model_selection.text(frontier.frontier(frontier.opened(options.data, first), others, options.threads)))


def _familiarity(options: argparse.Namespace) -> None:
    patients, _ = dataset.scan(options.data)
    print(out_of_distribution.renew(options.version, patients, options.seed))


def _name(options: argparse.Namespace) -> str:
    if options.name:
        exists = (options.runs / options.name).exists()
        if exists != options.resume and not options.train_only:
            wrong = "is there already; add --resume to go on with it" if exists else "is not there"
            raise DatasetError(f"The run {options.name} {wrong}.")
        return str(options.name)
    if options.resume:
        earlier = sorted(options.runs.glob("*/config.json"), key=lambda path: path.stat().st_mtime)
        if not earlier:
            raise DatasetError(f"There is no run in {options.runs} to resume.")
        return str(earlier[-1].parent.name)
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _store() -> ObjectStore | None:
    """The registry's store, asked now rather than after hours; None where none is configured."""
    configured = settings()
    if configured.s3_endpoint is None and configured.store_directory is None:
        return None
    store = open_store(configured)
    if configured.store_directory is not None:  # a bucket is made by the deployment's set-up, a folder by who needs it
        store.prepare(configured.job_days)
    store.check()
    return store


def _audit(options: argparse.Namespace) -> None:
    _, audit = dataset.scan(options.data)
    print(audit.text())


def _download(options: argparse.Namespace) -> None:
    print(download.download(options.folder))


def _phantom(options: argparse.Namespace) -> None:
    written = phantoms.write(options.folder, options.patients, options.seed)
    print(f"{len(written)} phantoms in {options.folder}")
