"""The command line of the trainer: run, structures, sequences, runs, frontier, audit, phantom and others."""

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
from metseg_trainer.data import PHANTOM_LAYOUTS, download_dataset, fetch_reviewed, scan_folder, write_phantoms
from metseg_trainer.export import compare_variants, format_frontier, update_card
from metseg_trainer.networks import NETWORKS
from metseg_trainer.reporting import write_frontier_page
from metseg_trainer.runs import (
    CHAMPION,
    REVIEWED,
    RunOutcome,
    StructureSources,
    compare_runs,
    cross_validate,
    execute_plan,
    fetch_champion,
    format_runs,
    leave_sites_out,
    list_runs,
    load_plan,
    make_plan,
    run_sequences,
    run_structures,
)
from metseg_trainer.training import (
    BY_PATIENT,
    BY_SLICE,
    CONFIG,
    PRESETS,
    StructureTrainingConfig,
    resource_errors_translated,
)

INPUTS_PX = (128, 192, 256)
"""Sides of a whole slice in model pixels to choose from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute a command, by default `run`.

    Args:
        arguments: of the command line; None takes the process's.

    Returns:
        The exit status: 0, 1 with one line on stderr if the command failed, 130 if it was interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "run")
    options = _parser().parse_args(words)
    try:
        options.command(options)
    except MetsegError as error:
        print(f"metseg-trainer: {error.detail}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("metseg-trainer: stopped; the same command with --resume continues.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("metseg-trainer", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("run", help="train, compare, export, register and promote")
    add.add_argument(
        "--data", nargs="+", default=[str(_data_folder())], metavar="SOURCE",
        help=f"a folder of slices and masks, the word `{REVIEWED}` for the reviewed studies of the store that may be "
        f"used for training, or both (default: {_data_folder()})",
    )  # fmt: skip
    add.add_argument("--runs", type=Path, default=_runs_folder(), help="folder of all runs (default: %(default)s)")
    add.add_argument("--name", help="of the run (default: the time)")
    add.add_argument("--resume", action="store_true", help="continue the run of that name, or the newest one")
    add.add_argument("--preset", choices=PRESETS, default="standard", help="default: %(default)s")
    add.add_argument("--epochs", type=_count, help="default: the preset's")
    add.add_argument("--base-width", type=_count, help="feature channels at full resolution (default: the preset's)")
    add.add_argument(
        "--input-px", type=int, choices=INPUTS_PX, help="side of a whole slice in model pixels (default: 128)"
    )
    add.add_argument("--start", type=Path, help="folder of an earlier run, whose networks are trained further")
    add.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="default: all")
    _add_promotion(add)
    add.add_argument("--threads", type=int, help="CPU threads (default: all that this container may use)")
    add.add_argument("--devices", type=int, help="processes that share each batch (default: one for each GPU)")
    add.add_argument(
        "--train-only", action="store_true",
        help="leave evaluation and export to a later --resume; several processes of one --name may run at once, each "
        "with other --networks",
    )  # fmt: skip
    split = add.add_mutually_exclusive_group()
    split.add_argument("--folds", type=int, help="cross-validate by patient; exports nothing")
    split.add_argument("--leave-site-out", metavar="SITE", help="train without a site and test on it, or `all` in turn")
    split.add_argument(
        "--split", choices=(BY_PATIENT, BY_SLICE), default=BY_PATIENT,
        help="`slice` puts slices of one patient on several sides to measure the effect of that leak; exports nothing",
    )  # fmt: skip
    add.set_defaults(command=_run)
    _add_structures(commands)
    add = commands.add_parser("runs", help="list the runs, or compare two of them on their common test patients")
    add.add_argument("--runs", type=Path, default=_runs_folder(), help="folder of all runs (default: %(default)s)")
    add.add_argument("names", nargs="*", metavar="RUN", help="two to compare")
    add.set_defaults(command=_runs)
    add = commands.add_parser("frontier", help="prune and quantise a run's networks, and choose which variant to serve")
    add.add_argument("--data", type=Path, default=_data_folder(), help="of the runs (default: %(default)s)")
    add.add_argument("--runs", type=Path, default=_runs_folder(), help="folder of all runs (default: %(default)s)")
    add.add_argument("--threads", type=int, default=2, help="that one inference may use (default: %(default)s)")
    add.add_argument("names", nargs="+", metavar="RUN", help="the run, and further ones of other sizes on its split")
    add.set_defaults(command=_frontier)
    add = commands.add_parser(
        "out-of-distribution", help="add to the card of an earlier version what detects input unlike its training data"
    )
    add.add_argument("version", type=Path, help="folder with card.json and the models")
    add.add_argument("--data", type=Path, default=_data_folder(), help="that it was trained on (default: %(default)s)")
    add.add_argument(
        "--seed", type=int, default=PRESETS["full"].seed, help="that its split was drawn with (default: %(default)s)"
    )
    add.set_defaults(command=_out_of_distribution)
    add = commands.add_parser("audit", help="read a folder and report what of it can be used")
    add.add_argument("data", type=Path, nargs="?", default=_data_folder())
    add.set_defaults(command=_audit)
    add = commands.add_parser("download", help="download the public data set")
    add.add_argument("folder", type=Path)
    add.set_defaults(command=_download)
    add = commands.add_parser("phantom", help="draw a data set of head phantoms")
    add.add_argument("folder", type=Path)
    add.add_argument("--patients", type=int, default=12)
    add.add_argument("--seed", type=int, default=0)
    add.add_argument("--layout", choices=PHANTOM_LAYOUTS, default=PHANTOM_LAYOUTS[0], help="default: %(default)s")
    add.set_defaults(command=_phantom)
    return parser


def _add_promotion(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--promote", choices=("better", "always", "never"), default="better",
        help="make it the champion if it beats the present one on the same patients (default), always or never",
    )  # fmt: skip


def _add_structures(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    add = commands.add_parser("structures", help="train a network of the core, join it with one of the whole, evaluate")
    add.add_argument("--lgg", type=Path, help="glioma patients, as `run` reads them")
    add.add_argument("--brisc", type=Path, help="BRISC: images/, masks/ and index.csv")
    add.add_argument(
        "--whole", type=Path, required=True, metavar="VERSION",
        help=f"folder of a version that segments the whole, or the word `{CHAMPION}` for the one in service",
    )  # fmt: skip
    add.add_argument(
        "--studies", nargs="+", default=[], metavar="SOURCE",
        help=f"a folder of studies of volumes whose core is known, and the word `{REVIEWED}` for the reviewed ones of "
        "the store: to train, validate and test on",
    )  # fmt: skip
    add.add_argument("--brats", type=Path, help="BraTS studies, to evaluate both structures on")
    add.add_argument(
        "--start", type=Path, metavar="VERSION",
        help=f"folder of a version of this command, or `{CHAMPION}`, whose network of the core is trained further",
    )  # fmt: skip
    _add_promotion(add)
    add.add_argument("--out", type=Path, required=True, help="for stores, checkpoints and figures")
    add.add_argument("--network", choices=NETWORKS, default="attention-unet", help="default: %(default)s")
    add.add_argument(
        "--samples", type=_count, default=StructureTrainingConfig.samples_per_epoch, help="default: %(default)s"
    )
    add.add_argument(
        "--base-width",
        type=_count,
        default=StructureTrainingConfig.base_width,
        help="feature channels at full resolution (default: %(default)s)",
    )
    add.add_argument("--resume", action="store_true", help="continue from the network's checkpoint")
    add.add_argument("--threads", type=int, help="CPU threads (default: all that this container may use)")
    add.set_defaults(command=_structures)
    _add_sequences(commands)


def _add_sequences(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    add = commands.add_parser("sequences", help="train the classifier that recognises the sequence of a grey image")
    add.add_argument("--lgg", type=Path, required=True, help="glioma patients, as `run` reads them")
    add.add_argument("--brisc", type=Path, required=True, help="BRISC: images/, masks/ and index.csv")
    add.add_argument("--out", type=Path, required=True, help="file to write: metseg/inference/sequence_model.onnx")
    add.add_argument(
        "--seed", type=int, default=PRESETS["full"].seed, help="of the split and all draws (default: %(default)s)"
    )
    add.set_defaults(command=_sequences)


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
    with resource_errors_translated(folder):
        outcome = _outcome(options, folder, store)
    if outcome is not None:
        print(f"Report: {outcome.folder / 'report.html'}")


def _outcome(options: argparse.Namespace, folder: Path, store: ObjectStore | None) -> RunOutcome | None:
    plan = make_plan(
        _data_source(options, folder, store), folder, preset=options.preset, networks=options.networks,
        epochs=options.epochs, base_width=options.base_width, input_px=options.input_px, start=options.start,
        split_by=_split_by(options), devices=options.devices,
    )  # fmt: skip
    print(plan.audit.text())
    if options.folds is not None:
        return cross_validate(plan, options.folds, store, train_only=options.train_only)
    if options.leave_site_out is not None:
        return leave_sites_out(plan, options.leave_site_out, store, train_only=options.train_only)
    return execute_plan(plan, options.promote, store, train_only=options.train_only)


def _data_source(options: argparse.Namespace, folder: Path, store: ObjectStore | None) -> Path | None:
    """The folder that --data names, if it names one; reviewed studies are downloaded into the run's folder."""
    named = _named_folder("--data", options.data)
    if REVIEWED in options.data:
        if options.preset == "smoke":
            raise DatasetError(f"--preset smoke draws its own heads; choose another for `{REVIEWED}`.")
        _fetch_reviewed(store, folder)
    return named


def _named_folder(option: str, sources: Sequence[str]) -> Path | None:
    """The folder among the sources of an option, if there is one."""
    folders = [Path(source) for source in sources if source != REVIEWED]
    if len(folders) > 1:
        raise DatasetError(f"{option} takes one folder, and `{REVIEWED}` in addition.")
    return folders[0] if folders else None


def _fetch_reviewed(store: ObjectStore | None, folder: Path) -> None:
    """Download the reviewed studies into the folder of a run."""
    if store is None:
        raise DatasetError("Reviewed studies are in a deployment's store, and none is configured.")
    folder.mkdir(parents=True, exist_ok=True)
    fetch_reviewed(store, folder / REVIEWED)


def _split_by(options: argparse.Namespace) -> str:
    if options.folds is not None:
        return f"{options.folds} folds"
    return str(options.split) if options.leave_site_out is None else f"site {options.leave_site_out}"


def _structures(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads or cpu_quota())
    config = StructureTrainingConfig(samples_per_epoch=options.samples, base_width=options.base_width)
    is_reviewed, store = REVIEWED in options.studies, _store()
    sources = StructureSources(
        lgg=options.lgg, brisc=options.brisc, studies=_named_folder("--studies", options.studies),
        reviewed=options.out / REVIEWED if is_reviewed else None, brats=options.brats,
    )  # fmt: skip
    with resource_errors_translated(options.out):
        if is_reviewed:
            _fetch_reviewed(store, options.out)
        table = run_structures(
            options.network, config, options.out, sources, whole=_version_folder(options.whole, options.out, store),
            start=None if options.start is None else _version_folder(options.start, options.out, store),
            resume=options.resume, policy=options.promote, store=store,
        )  # fmt: skip
    print(table)


def _version_folder(named: Path, out: Path, store: ObjectStore | None) -> Path:
    """The folder of a version that an option names; the champion is downloaded into the output folder."""
    if named != Path(CHAMPION):
        return named
    if store is None:
        raise DatasetError(f"`{CHAMPION}` is the version that a deployment's registry serves, and none is configured.")
    fetch_champion(store, out / CHAMPION)
    return out / CHAMPION


def _sequences(options: argparse.Namespace) -> None:
    print(run_sequences(options.lgg, options.brisc, options.out, options.seed))


def _runs(options: argparse.Namespace) -> None:
    listed = {run.name: run for run in list_runs(options.runs, _store())}
    if not options.names:
        print(format_runs(list(listed.values())))
        return
    if len(options.names) != 2 or (unknown := [name for name in options.names if name not in listed]):
        wrong = "Name two runs to compare." if len(options.names) != 2 else f"There is no finished run {unknown[0]}."
        raise DatasetError(f"{wrong} Known are: {', '.join(listed) or 'none'}.")
    print(compare_runs(*(listed[name] for name in options.names)))


def _frontier(options: argparse.Namespace) -> None:
    first, *others = (options.runs / name for name in options.names)
    record = compare_variants(load_plan(options.data, first), others, options.threads)
    write_frontier_page(first, record)
    print(format_frontier(record))


def _out_of_distribution(options: argparse.Namespace) -> None:
    patients, _ = scan_folder(options.data)
    print(update_card(options.version, patients, options.seed))


def _name(options: argparse.Namespace) -> str:
    if options.name:
        exists = (options.runs / options.name).exists()
        if exists != options.resume and not options.train_only:
            wrong = "exists already; add --resume to continue it" if exists else "does not exist"
            raise DatasetError(f"The run {options.name} {wrong}.")
        return str(options.name)
    if options.resume:
        earlier = sorted(options.runs.glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime)
        if not earlier:
            raise DatasetError(f"There is no run in {options.runs} to resume.")
        return str(earlier[-1].parent.name)
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _store() -> ObjectStore | None:
    """The registry's store, checked now rather than after hours; None if none is configured."""
    configured = settings()
    if configured.s3_endpoint is None and configured.store_directory is None:
        return None
    store = open_store(configured)
    if configured.store_directory is not None:  # a deployment creates its bucket, but nothing else creates a folder
        store.prepare(configured.job_days)
    store.check()
    return store


def _audit(options: argparse.Namespace) -> None:
    _, audit = scan_folder(options.data)
    print(audit.text())


def _download(options: argparse.Namespace) -> None:
    print(download_dataset(options.folder))


def _phantom(options: argparse.Namespace) -> None:
    write_phantoms(options.folder, options.patients, options.seed, layout=options.layout)
    print(f"{options.patients} phantoms in {options.folder}")
