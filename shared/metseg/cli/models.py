"""`metseg models`: list and show a server's model versions, and put one into service."""

import argparse
import sys

from metseg.cli.exit_codes import ExitCode, UsageError
from metseg.cli.output import format_time, print_json, print_table
from metseg.cli.segment import open_client
from metseg.contracts import ModelCard

__all__ = ["list_models", "promote", "show"]


def list_models(arguments: argparse.Namespace) -> ExitCode:
    """List all versions; an asterisk marks the champion."""
    with open_client(arguments) as client:
        page = client.models()
    if arguments.json:
        print_json(page)
        return ExitCode.DONE
    serving = page.champion.version if page.champion else None
    rows = [
        ("*" if card.version == serving else "", card.version, card.network, _dice(card), format_time(card.created_at))
        for card in page.models
    ]
    print_table(("", "VERSION", "NETWORK", "DICE", "MADE"), rows)
    return ExitCode.DONE


def _dice(card: ModelCard) -> str:
    figures = card.figures.get(card.network)
    return "" if figures is None else f"{figures.mean:.3f}"


def show(arguments: argparse.Namespace) -> ExitCode:
    """Show the card of a version."""
    with open_client(arguments) as client:
        card = client.model(arguments.version)
    if arguments.json:
        print_json(card)
        return ExitCode.DONE
    figures = card.figures.get(card.network)
    tested = f"{figures.mean:.3f} mean, {figures.median:.3f} median of {figures.patients} patients" if figures else ""
    rows: list[tuple[str, object]] = [("version", card.version), ("network", card.network)]
    rows += [("precision", card.variant.precision), ("parameters", f"{card.parameters:,}")]
    rows += [("threshold", card.threshold), ("made", format_time(card.created_at)), ("test Dice", tested)]
    rows += [("data", card.data.name), ("licence", card.licence), ("use", card.intended_use)]
    for name, value in [*rows, *(("limit", limit) for limit in card.limits)]:
        print(f"{name:<10} {value}")
    return ExitCode.DONE


def promote(arguments: argparse.Namespace) -> ExitCode:
    """Put a version into service, after a confirmation or with `--yes`."""
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise UsageError("Promotion changes the model of all new jobs; confirm with --yes.")
        if input(f"Put {arguments.version} into service for everyone? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was changed")
            return ExitCode.FAILED
    with open_client(arguments) as client:
        champion = client.promote(arguments.version)
    print(f"{champion.version} is in service since {format_time(champion.promoted_at)}")
    return ExitCode.DONE
