"""`metseg models`: list and show a server's model versions, and put one into service."""

import argparse
import sys

from metseg.cli.exits import Exit, Usage
from metseg.cli.segment import client
from metseg.cli.tables import moment, print_json, print_table
from metseg.contracts import ModelCard

__all__ = ["models", "promote", "show"]


def models(options: argparse.Namespace) -> Exit:
    """List all versions; a star marks the one that serves."""
    with client(options) as server:
        page = server.models()
    if options.json:
        print_json(page)
        return Exit.DONE
    serving = page.champion.version if page.champion else None
    rows = [
        ("*" if card.version == serving else "", card.version, card.network, _dice(card), moment(card.created_at))
        for card in page.models
    ]
    print_table(("", "VERSION", "NETWORK", "DICE", "MADE"), rows)
    return Exit.DONE


def _dice(card: ModelCard) -> str:
    figures = card.figures.get(card.network)
    return "" if figures is None else f"{figures.mean:.3f}"


def show(options: argparse.Namespace) -> Exit:
    """One version's card."""
    with client(options) as server:
        card = server.model(options.version)
    if options.json:
        print_json(card)
        return Exit.DONE
    figures = card.figures.get(card.network)
    tested = f"{figures.mean:.3f} mean, {figures.median:.3f} median of {figures.patients} patients" if figures else ""
    rows: list[tuple[str, object]] = [("version", card.version), ("network", card.network)]
    rows += [("precision", card.variant.precision), ("parameters", f"{card.parameters:,}")]
    rows += [("threshold", card.threshold), ("made", moment(card.created_at)), ("test Dice", tested)]
    rows += [("data", card.data.name), ("licence", card.licence), ("use", card.intended_use)]
    for name, value in [*rows, *(("limit", limit) for limit in card.limits)]:
        print(f"{name:<10} {value}")
    return Exit.DONE


def promote(options: argparse.Namespace) -> Exit:
    """Put a version into service, once a person or `--yes` says so."""
    if not options.yes:
        if not sys.stdin.isatty():
            raise Usage("Promoting changes what every job is segmented with; add --yes to mean it.")
        if input(f"Put {options.version} into service for everyone? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was changed")
            return Exit.FAILED
    with client(options) as server:
        champion = server.promote(options.version)
    print(f"{champion.version} serves since {moment(champion.promoted_at)}")
    return Exit.DONE
