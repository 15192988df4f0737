"""README and docs match the code: commands, addresses, settings, figures, links."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from tests.bench import bench_peers, bench_recipe

from metseg import errors
from metseg.contracts import Evaluation, MetricSummary, ModelCard
from metseg.settings import CONSTANTS, Settings
from metseg_api.app import create_app
from metseg_trainer import cli
from metseg_trainer.export import format_frontier
from metseg_trainer.networks import NETWORKS, NestedUNet, create_network
from metseg_trainer.reporting import results_markdown, structures_markdown
from metseg_trainer.training import PRESETS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted(ROOT.glob("docs/*.md"))]
STARTER = ROOT / "infra/starter-model/results.json"
CORE = ROOT / "docs/results/core.json"
EVALUATION = ROOT / "docs/evaluation.md"
PUBLISHED = "http://127.0.0.1:8000"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return FENCE.sub("", text(page))


def shell_lines(page: Path) -> list[str]:
    """The command lines of a page, continuation lines joined, and commands within sentences."""
    blocks = [body.replace("\\\n", "") for kind, body in FENCE.findall(text(page)) if kind == "bash"]
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
    return lines + re.findall(r"`((?:docker compose|make) [^`\n]+)`", prose(page))


def tables(page: Path) -> Iterator[list[list[str]]]:
    """The cells of each table's rows, without the head."""
    for table in re.findall(r"(?:^\|.*\|\n)+", prose(page), re.MULTILINE):
        yield [re.split(r"\s*\|\s*", line.strip("| ")) for line in table.splitlines()[2:]]


def row_of(page: Path, first: str) -> list[str]:
    [row] = [row for table in tables(page) for row in table if row[0] == first]
    return row


def with_interval(measure: MetricSummary) -> str:
    return f"{measure.mean:.3f} ({measure.mean_interval.low:.3f} to {measure.mean_interval.high:.3f})"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def services() -> set[str]:
    return set(yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"])


def variables() -> dict[str, object]:
    """The settings' environment variables and defaults."""
    fields = {name: field for name, field in Settings.model_fields.items() if name not in CONSTANTS}
    return {f"METSEG_{name.upper()}": field.get_default() for name, field in fields.items()}


def shown(default: object) -> str:
    """A default as the tables show it."""
    value = default.get_secret_value() if hasattr(default, "get_secret_value") else default
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_the_readmes_checks_are_what_ci_runs():
    assert "make test" in shell_lines(README)
    assert re.search(r"^section test \d+ make test\b", text(ROOT / ".ci/run"), re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "results", "markdown"),
    [
        ("starter", STARTER, results_markdown),
        ("core", CORE, structures_markdown),
        ("results", ROOT / "docs/results/comparison.json", results_markdown),
        ("folds", ROOT / "docs/results/folds.json", results_markdown),
        ("sites", ROOT / "docs/results/sites.json", results_markdown),
    ],
)
def test_result_tables_are_those_that_a_run_wrote(name: str, results: Path, markdown: Callable[[Path], str]):
    [block] = re.findall(rf"<!-- {name}\b[^>]*-->\n(.*?)<!-- /{name} -->", text(EVALUATION), re.DOTALL)
    assert block == markdown(results)


def test_the_readme_quotes_the_comparison_of_the_core():
    networks = [one["sets"] for one in json.loads(CORE.read_text())["networks"]]
    drawn, brisc = (
        [Evaluation.model_validate(sets[name]) for sets in networks]
        for name in ("drawn metastases, core", "BRISC axial validation slices, core")
    )
    for first, cards in (("drawn metastases, Dice", drawn), ("BRISC, Dice", brisc)):
        assert row_of(README, first)[1:3] == [with_interval(one.measures["dice"]) for one in cards]
    strata = ("below 6 mm", "6 to 10 mm", "10 to 20 mm")
    assert row_of(README, "drawn metastases, found by size as above; false positives")[1:3] == [
        f"{', '.join(f'{one.by_diameter[size].sensitivity:.2f}' for size in strata)}; {one.false_positives.mean:.1f}"
        for one in (card.lesions for card in drawn)
    ]


def test_the_readme_quotes_the_starter_models_figures():
    card = ModelCard.model_validate_json((ROOT / "infra/starter-model/card.json").read_bytes())
    further, whole = card.further_evaluation, card.evaluation[card.network]
    for first, evaluation in (
        ("whole, 18 test patients of TCGA-LGG", whole),
        ("core, 189 axial slices of BRISC, post-contrast T1 alone", further["BRISC axial validation slices, core"]),
        ("core, 3 volumes of BraTS 2013", further["volumes, core"]),
        ("whole, 3 volumes of BraTS 2013", further["volumes, whole"]),
    ):
        dice = evaluation.measures["dice"]
        assert row_of(README, first)[1:3] == [with_interval(dice), f"{dice.median:.3f}"]
        assert f" {dice.patients} " in first
    name = "drawn metastases, core"
    drawn = [further[name].lesions, further[f"{name}, post-contrast T1 alone"].lesions]
    strata = ("below 6 mm", "6 to 10 mm", "10 to 20 mm")
    assert row_of(README, "found: below 6 mm, 6 to 10 mm, 10 to 20 mm")[1:3] == [
        ", ".join(f"{one.by_diameter[size].sensitivity:.2f}" for size in strata) for one in drawn
    ]
    assert row_of(README, "false positives per patient")[1:3] == [f"{one.false_positives.mean:.1f}" for one in drawn]
    false = further["volumes, core"].lesions.false_positives.mean
    assert f"{false:.0f} per volume of 155 slices" in " ".join(prose(README).split())


def test_the_evaluation_page_quotes_how_robust_the_starter_model_is():
    card = ModelCard.model_validate_json((ROOT / "infra/starter-model/card.json").read_bytes())
    whole, core = card.evaluation[card.network], card.further_evaluation["drawn metastases, core"]
    [table] = [table for table in tables(EVALUATION) if table[0][0] == "as they are"]
    quoted = {title: cells for title, *cells in table}
    assert quoted["as they are"] == [with_interval(one.measures["dice"]) for one in (whole, core)]
    for title, measure in whole.robustness.items():
        assert quoted[title][0] == with_interval(measure)
        assert quoted[title][1] == (with_interval(core.robustness[title]) if title in core.robustness else "–")


def test_the_leak_of_a_split_by_slice_is_what_the_runs_wrote():
    def dice_by_title(way: str) -> dict[str, dict[str, Any]]:
        rows = json.loads((ROOT / f"docs/results/leak-by-{way}.json").read_text())["networks"]
        return {row["title"]: row["evaluation"]["measures"]["dice"] for row in rows}

    by_slice, by_patient = dice_by_title("slice"), dice_by_title("patient")
    for title, dice in by_slice.items():
        row = row_of(EVALUATION, title)
        means = [dice["mean"], by_patient[title]["mean"]]
        assert [float(cell.split()[0]) for cell in row[1:3]] == [round(mean, 3) for mean in means]
        assert row[3] == f"{means[0] - means[1]:+.3f}"


@pytest.mark.parametrize("name", ["frontier", "frontier-nested"])
def test_frontier_tables_are_those_that_the_command_wrote(name: str):
    content = json.loads((ROOT / f"docs/results/{name}.json").read_text())
    page = {"frontier": "training", "frontier-nested": "appendix-training"}[name]
    assert format_frontier(content) in text(ROOT / f"docs/{page}.md")


@pytest.mark.parametrize(("name", "bench"), [("recipe", bench_recipe), ("peers", bench_peers)])
def test_bench_tables_are_those_that_the_benches_wrote(name: str, bench: ModuleType):
    content = json.loads((ROOT / f"docs/results/{name}.json").read_text())
    page = text(ROOT / "docs/appendix-training.md")
    [block] = re.findall(rf"<!-- {name}:[^>]*-->\n(.*?)<!-- /{name} -->", page, re.DOTALL)
    assert block == bench.markdown(content)


def test_the_readme_stays_short_and_its_pictures_small():
    assert len(text(README).splitlines()) <= 120
    assert all(path.stat().st_size < 400_000 for path in (ROOT / "docs/pictures").iterdir())


@each_page
def test_every_link_and_picture_exists(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if urlsplit(target).scheme:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_picture_and_every_page_is_shown_or_linked():
    named = {Path(target).name for page in PAGES for target in re.findall(r"\]\(([^)#\s]+)", text(page))}
    assert {path.name for path in [*PAGES[1:], *(ROOT / "docs/pictures").iterdir()]} <= named


@each_page
def test_every_make_command_is_a_target(page: Path):
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):.*## ", text(ROOT / "Makefile"), re.MULTILINE))
    for line in shell_lines(page):
        if line.startswith("make "):
            assert shlex.split(line, comments=True)[1] in targets, line


@each_page
def test_every_trainer_command_is_understood_by_the_trainer(page: Path):
    for line in shell_lines(page):
        words = shlex.split(line, comments=True)
        if "trainer" in words and "--entrypoint" not in words:
            arguments = words[words.index("trainer") + 1 :]
        elif words[:2] == ["make", "train"] and len(words) > 2 and words[2] != "ARGS=…":
            arguments = shlex.split(words[2].removeprefix("ARGS="))
        else:
            continue
        command = arguments if arguments and not arguments[0].startswith("-") else ["run", *arguments]
        cli._parser().parse_args(command)


@each_page
def test_every_compose_command_names_a_service(page: Path):
    runs = [line for line in shell_lines(page) if "docker compose run" in line]
    for line in runs:
        assert services() & set(shlex.split(line, comments=True)), line
    assert runs or "docker compose run" not in text(page)


def test_the_readme_names_every_service():
    named = set(re.findall(r"`([a-z-]+)`", prose(README)))
    assert services() <= named


@each_page
def test_every_documented_variable_is_read_somewhere(page: Path):
    sources = [ROOT / name for name in ("docker-compose.yml", ".env.example", "Makefile", "infra/local/run.py")]
    sources += [path for folder in ("shared", "services") for path in ROOT.glob(f"{folder}/**/*.py")]
    read = {word for path in sources for word in re.findall(r"\b[A-Z][A-Z0-9_]+\b", text(path))}
    read |= variables().keys() | {"PIP_FIND_LINKS"}
    code = " ".join([*re.findall(r"`([^`\n]+)`", prose(page)), *(body for _, body in FENCE.findall(text(page)))])
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z0-9]+)+\b", code))
    assert {name for name in named if not name.startswith("TCGA_")} <= read


def test_the_settings_are_listed_with_their_defaults():
    for name, default in variables().items():
        assert row_of(ROOT / "docs/operations.md", f"`{name}`")[1].strip("`") == shown(default), name


@cache
def routes() -> dict[str, dict[str, dict]]:
    """The gateway's operations by path, whose variable parts are `{}`, and by method."""
    return {re.sub(r"\{\w+\}", "{}", path): methods for path, methods in create_app().openapi()["paths"].items()}


@each_page
def test_every_curl_call_matches_a_route(page: Path):
    known = routes()
    calls = [line for line in shell_lines(page) if "curl " in line]
    for line in calls:
        words = shlex.split(re.search(r"curl [^|)]*", line.replace("$API", PUBLISHED)).group())
        address = urlsplit(next(word for word in words if word.startswith(PUBLISHED)))
        fields = {words[index + 1].split("=")[0] for index, word in enumerate(words) if word == "-F"}
        method = words[words.index("-X") + 1].lower() if "-X" in words else "post" if fields else "get"
        operation = known[address.path.replace("$JOB", "{}")][method]
        assert set(parse_qs(address.query)) <= {each["name"] for each in operation.get("parameters", [])}, line
        if fields:
            [form] = operation["requestBody"]["content"].values()
            assert fields <= set(form["schema"]["properties"]), line
    assert calls or page not in (README, ROOT / "docs/rest.md")


def test_docs_rest_lists_exactly_the_routes():
    listed = set(re.findall(r"^\| `([A-Z]+) ([^`]+)` \|", text(ROOT / "docs/rest.md"), re.MULTILINE))
    known = {(method.upper(), path) for path, methods in routes().items() for method in methods}
    assert {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in listed} == known


def test_docs_rest_lists_every_problem():
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.MetsegError)]
    wanted = {(str(kind.status), kind.type, kind.title) for kind in kinds if kind is not errors.MetsegError}
    listed = re.findall(r"^\| (\d{3}) \| `([^`]+)` \| (.+) \|$", text(ROOT / "docs/rest.md"), re.MULTILINE)
    assert set(listed) == wanted


def test_the_documented_presets_match_the_code():
    for name, recipe in PRESETS.items():
        wanted = (recipe.base_width, recipe.epochs, recipe.samples_per_epoch, recipe.batch_size)
        assert row_of(ROOT / "docs/training.md", f"`{name}`")[1:5] == [str(number) for number in wanted]


def parameters(network: object) -> str:
    return f"{sum(weight.numel() for weight in network.parameters()):,}"


def test_the_documented_network_sizes_match_the_code():
    counts = {name: {width: parameters(create_network(name, width)) for width in (4, 8, 16)} for name in NETWORKS}
    for width in (4, 8, 16):
        row = row_of(ROOT / "docs/networks.md", str(width))
        assert row[2:] == [counts["nested-unet"][width], counts["attention-unet"][width]]
        assert {PRESETS[name].base_width for name in re.findall(r"`(\w+)`", row[1])} == {width}
    assert all(f"{counts[name][16]} parameters" in text(README) for name in NETWORKS)
    pruned = [parameters(NestedUNet(16, depth)) for depth in (1, 2, 3, 4)]
    assert all(count in text(ROOT / "docs/networks.md") for count in pruned)
