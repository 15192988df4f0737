"""The report of a run: complete in one file, reproducible, and anonymous where required."""

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import cv2
import numpy as np
import pytest

from metseg_trainer.data import Audit, Split
from metseg_trainer.evaluation import EMPTY_CONVENTION, EvaluationResult, RunEvaluation, compare_networks
from metseg_trainer.evaluation.brats_mets import BratsMets
from metseg_trainer.evaluation.candidates import Peaks
from metseg_trainer.evaluation.lesionwise import LesionwiseMetrics, TrueLesion
from metseg_trainer.evaluation.masks import MaskMetrics
from metseg_trainer.evaluation.result import PatientResult
from metseg_trainer.reporting import results_markdown, write_patient_results
from metseg_trainer.reporting.examples import Example, _outline_path, _view_box
from metseg_trainer.reporting.report import write_report
from metseg_trainer.reporting.results import write_results

NESTED, ATTENTION = "nested-unet", "attention-unet"
PEAKS = Peaks([0.9, 0.0], [0.6], 0.5)
NAMES = {"anna": "<b>anna</b>"}
SPLIT = Split(("TCGA_CS_0001_19990101", "TCGA_DU_0002_19990101"), ("TCGA_CS_0003_19990101",), ("<b>anna</b>", "ben"))
AUDIT = Audit(
    patients=5,
    slices=1234,
    lesion_slices=400,
    sites={"CS": 2, "DU": 1, "unknown": 2},
    images_without_mask=("lost/image_1.png",),
    masks_without_image=(),
    unreadable=(("broken/file.png", "the file ends early"),),
    shape_mismatch=(),
    unusable_patients=(),
    copies=17,
    notes=("note of carla",),
    layout="slices",
    structures={"whole": 5},
)


def figures(network: str, **scores: float) -> EvaluationResult:
    result = EvaluationResult(network)
    for id, score in scores.items():
        lesions = LesionwiseMetrics((TrueLesion(8.0, True, score, 268.0), TrueLesion(3.0, False, 0.0, 14.0)), (5.0,), 1)
        mask = MaskMetrics(score, score, score, 1.5, score, 0.25)
        result.patients[NAMES.get(id, id)] = PatientResult(
            mask, lesions, BratsMets(1, 0, 0, 0.9, 0.8), PEAKS, {"site": "CS"}
        )
    result.corrupted["gamma-0.7"] = {id: one.mask.dice - 0.1 for id, one in result.patients.items()}
    result.reliability.add(np.array([0.9, 0.9], np.float32), np.array([True, False]))
    return result


def evaluation_of(results: dict[str, EvaluationResult]) -> RunEvaluation:
    same = len({frozenset(result.dice) for result in results.values()}) == 1
    found = (
        compare_networks(("U-Net++", "Attention U-Net"), tuple(one.dice for one in results.values())) if same else None
    )
    return RunEvaluation({}, results, results, found)


@pytest.fixture
def results():
    return {NESTED: figures(NESTED, anna=0.5, ben=0.7), ATTENTION: figures(ATTENTION, anna=0.8, ben=0.9)}


@pytest.fixture
def run():
    def network(title, parameters):
        return {
            "title": title, "parameters": parameters, "minutes": 41.26, "epochs": 24,
            "threshold": 0.45, "min_volume_mm3": 10.0,
        }  # fmt: skip

    return {
        "created_at": "2026-11-23 21:40 UTC",
        "preset": "standard",
        "git_revision": "0123456789abcdef",
        "networks": {NESTED: network("U-Net++", 2_261_345), ATTENTION: network("Attention U-Net", 1_992_345)},
        "configuration": {"epochs": 24, "patch": "112 x 96"},
        "environment": {"torch": "2.13.0", "device": "CPU & friends"},
        "data_name": "Phantoms",
        "data_licence": "CC0",
        "data_citations": ["Nobody: Nothing. 2026."],
        "data_sha256": "ab" * 32,
    }


@pytest.fixture
def example():
    picture = np.random.default_rng(0).integers(60, 255, (40, 48, 3), np.uint8)
    truth = np.zeros((40, 48), bool)
    truth[10:20, 10:20] = True
    late = np.roll(truth, 2, axis=0)
    return Example("ben", "best", picture[..., 1].copy(), "FLAIR", truth, {NESTED: late, ATTENTION: truth})


@pytest.fixture
def page(tmp_path, run, results):
    def make(**changes) -> str:
        curves = {
            name: [
                {"epoch": epoch, "train_loss": 1 / (epoch + 1), "val_loss": None, "val_dice": epoch / 10, "lr": 0.001}
                for epoch in range(5)
            ]
            for name in results
        }
        given = {"run": run, "audit": AUDIT, "split": SPLIT, "curves": curves, "evaluation": evaluation_of(results)}
        given |= {"verdict": "It is <better> than the champion."}
        write_report(tmp_path / "report.html", **(given | changes))
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return make


SVG = "{http://www.w3.org/2000/svg}"


def figures_of(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def figure_of(html: str, label: str) -> ElementTree.Element:
    """The chart whose label starts with `label`."""
    [found] = [figure for figure in figures_of(html) if figure.get("aria-label", "").startswith(label)]
    return found


def groups_of(figure: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    """Matplotlib's artists of a kind, in drawing order."""
    return [group for group in figure.iter(f"{SVG}g") if group.get("id", "").startswith(kind)]


def lines_of(figure: ElementTree.Element) -> list[ElementTree.Element]:
    """The lines of a chart, without its grid and ticks."""
    [axes] = groups_of(figure, "axes")
    groups = [child for child in axes if child.get("id", "").startswith("line2d")]
    return [group.find(f"{SVG}path") for group in groups]


def colour_of(line: ElementTree.Element) -> str:
    return re.search(r"stroke: (var\(--\w+\))", line.get("style"))[1]


def test_the_headline_names_the_winner_and_its_figure(page):
    assert "<h1>Attention U-Net is ahead, by no more than chance, with a mean patient Dice of 0.850</h1>" in page()


def test_a_winner_is_named_only_if_chance_does_not_explain_it(page, results):
    many = {
        name: figures(name, **{f"p{n}": 0.5 + n / 100 + 0.2 * (name == ATTENTION) for n in range(12)})
        for name in results
    }
    assert "<h1>Attention U-Net wins with a mean patient Dice of 0.755</h1>" in page(evaluation=evaluation_of(many))


def test_the_table_has_both_networks_with_every_metric(page):
    rows = re.findall(r"<tr(?: class=\"wins\")?>\s*<td><i.*?</tr>", page(), re.DOTALL)
    cells = [re.findall(r"<td>\s*(?:<i[^>]*></i>)?([^<]*)", row) for row in rows]
    assert [cell.strip() for cell in cells[0]] == [
        "U-Net++", "0.600", "0.600", "0.141", "0.500", "0.700", "–", "2,261,345", "41.3", "24",
    ]  # fmt: skip
    assert 'class="wins"' in rows[1]
    assert 'class="wins"' not in rows[0]


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_all_metrics_are_shown_with_intervals(page):
    text = words(page())
    assert "Dice 0.600 0.500–0.700 0.850 0.800–0.900" in text
    assert "HD95, mm 1.5 1.5–1.5" in text
    assert "found, 6 to 10 mm 1.00 of 2" in text
    assert "found, below 6 mm 0.00 of 2" in text
    assert "of them on vessels and the like 100%" in text
    assert "gamma 0.7 0.500 0.400–0.600 (-0.100)" in text
    assert "site: CS (2) 0.600 0.850" in text
    assert "Threshold 0.45 0.45" in text
    assert EMPTY_CONVENTION in text


def test_the_verdict_says_whether_there_is_a_winner(page):
    assert "Neither network is shown to be better: difference of mean patient Dice -0.250" in page()


def test_the_reliability_diagram_shows_each_network_and_the_ideal(page):
    drawn = figure_of(page(), "Share that is lesion")
    assert [colour_of(line) for line in lines_of(drawn)] == ["var(--quiet)", "var(--n0)", "var(--n1)"]


def test_the_page_is_self_contained_and_runs_nothing(page, example):
    html = page(examples=[example])
    assert not re.search(r"<script|<link|@import|\bon\w+=|url\((?!#)", html)
    addresses = re.findall(r'(?:href|src)="([^"]*)"', html)
    assert {address[:5] for address in addresses if not address.startswith("#")} == {"data:"}


def test_names_and_texts_are_escaped(page):
    html = page()
    assert "<b>anna</b>" not in html
    assert "&lt;b&gt;anna&lt;/b&gt;" in html
    assert "It is &lt;better&gt; than the champion." in html
    assert "CPU &amp; friends" in html


def test_the_report_of_a_run_is_reproducible(page, example):
    assert page(examples=[example]) == page(examples=[example])


def test_every_test_patient_has_a_dot_per_network_at_its_dice(page):
    drawn = figure_of(page(), "Dice of each test patient")
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert texts[-2:] == ["ben", "<b>anna</b>"]
    dots = [[float(dot.get("x")) for dot in group.iter(f"{SVG}use")] for group in groups_of(drawn, "PathCollection")]
    assert [len(xs) for xs in dots] == [2, 2]
    ticks = {text.text: float(text.get("x")) for text in drawn.iter(f"{SVG}text") if text.text in ("0.0", "1.0")}
    at = [[(x - ticks["0.0"]) / (ticks["1.0"] - ticks["0.0"]) for x in xs] for xs in dots]
    assert at == [pytest.approx([0.7, 0.5], abs=1e-3), pytest.approx([0.9, 0.8], abs=1e-3)]


def test_curves_show_only_what_was_measured(page):
    html = page()
    assert html.count(", by epoch") == 3
    loss = figure_of(html, "Loss")
    assert [colour_of(line) for line in lines_of(loss)] == ["var(--n0)", "var(--n1)"]
    assert all("dasharray" in line.get("style") for line in lines_of(loss))
    points = np.array(re.findall(r"[\d.]+", lines_of(loss)[0].get("d")), float).reshape(-1, 2)
    assert len(points) == 5
    assert (np.diff(points, axis=0) > 0).all()


def test_one_epoch_and_non_finite_values_can_be_drawn(page):
    rows = [{"epoch": 1, "train_loss": float("nan"), "val_loss": 0.5, "val_dice": 0.1, "lr": float("inf")}]
    html = page(curves={NESTED: rows, ATTENTION: rows})
    assert len(lines_of(figure_of(html, "Loss"))) == 2
    assert not lines_of(figure_of(html, "Learning rate"))


def test_a_run_without_curves_has_no_empty_charts(page):
    assert "Learning curves" not in page(curves={NESTED: [], ATTENTION: []})


def test_an_example_shows_input_truth_and_both_predictions(page, example):
    html = page(examples=[example])
    panels = [figure for figure in figures_of(html) if figure.find("*").tag in ("image", "use")]
    assert [panel.get("aria-label") for panel in panels] == [
        "the slice as uploaded",
        "the true lesion",
        "the lesion as U-Net++ segments it",
        "the lesion as Attention U-Net segments it",
    ]
    assert "Dice 0.700" in html
    assert "hit 80, missed 20, added 20" in html
    assert "hit 100, missed 0, added 0" in html


def test_the_embedded_image_equals_flair_to_the_pixel(page, example):
    [encoded] = re.findall(r"data:image/png;base64,([^\"]*)", page(examples=[example]))
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded, example.picture)


def test_the_audit_and_the_split_are_shown(page):
    html = page()
    for expected in ("1,234", "lost/image_1.png", "broken/file.png: the file ends early", "17 slices", "note of carla"):
        assert expected in html
    assert re.search(r"<td>CS</td><td>1</td><td>1</td><td>0</td>", html)
    assert "Every image has a readable mask" not in html
    clean = replace(AUDIT, images_without_mask=(), unreadable=())
    assert "Every image has a readable mask" in page(audit=clean)


def test_licence_citation_environment_and_use_are_shown(page, run):
    html = page(run={**run, "version": "20261123-214000-attention-unet"})
    for expected in (
        "CC0",
        "Nobody: Nothing. 2026.",
        "112 x 96",
        "Research use only. Not a medical device",
        "20261123-2",
    ):
        assert expected in html
    assert "How the figures were measured" in html


def test_an_anonymous_report_has_no_name_and_no_image(page, example):
    html = page(examples=[example], anonymous=True)
    for name in ("anna", "ben", "TCGA", "lost/image_1", "broken/file", "carla", "data:image"):
        assert name not in html
    assert ">test patient 1<" in html
    assert "Images without a mask, left out: 1" in html


def test_networks_tested_on_different_patients_are_not_compared(page, results):
    with pytest.raises(ValueError, match="different patients"):
        page(evaluation=evaluation_of({**results, NESTED: figures(NESTED, ben=0.7)}))


def test_a_network_without_results_is_an_error(page, run):
    with pytest.raises(ValueError, match="lacks attention-unet"):
        page(run={**run, "networks": {NESTED: run["networks"][NESTED]}})


def test_results_json_has_the_readmes_tables(tmp_path, run, results):
    write_results(tmp_path / "results.json", run=run, evaluation=evaluation_of(results), verdict="It wins.")
    lines = results_markdown(tmp_path / "results.json").splitlines()
    assert lines[0] == "| Patient Dice | U-Net++ | **Attention U-Net** |"
    assert lines[2] == "| mean | 0.600 (0.500 to 0.700) | 0.850 (0.800 to 0.900) |"
    assert "| gamma 0.7 | 0.500 | 0.750 |" in lines
    assert "| found, 6 to 10 mm | 1.00 of 2 | 1.00 of 2 |" in lines
    assert any(line.startswith("Neither network is shown to be better") for line in lines)
    assert any("Phantoms, preset `standard`" in line for line in lines)


def test_the_tables_of_a_run_by_site_have_a_row_per_site(tmp_path, run, results):
    parted = {**run, "configuration": {**run["configuration"], "split_by": "site"}}
    for one, by_site in ((run, False), (parted, True)):
        write_results(tmp_path / "results.json", run=one, evaluation=evaluation_of(results), verdict="It wins.")
        assert ("Mean patient Dice by site" in results_markdown(tmp_path / "results.json")) == by_site
    sites = [
        line
        for line in results_markdown(tmp_path / "results.json").splitlines()
        if re.match(r"\| \w+, \d+ patients", line)
    ]
    assert sites == ["| CS, 2 patients | 0.600 (0.500 to 0.700) | 0.850 (0.800 to 0.900) |"]


def test_results_json_names_no_patient_and_patients_json_all(tmp_path, run, results):
    write_results(tmp_path / "results.json", run=run, evaluation=evaluation_of(results), verdict="It wins.")
    text = (tmp_path / "results.json").read_text()
    assert "anna" not in text
    assert "ben" not in text
    assert json.loads(text)["winner"] == ATTENTION
    write_patient_results(tmp_path / "patients.json", evaluation_of(results))
    by_patient = json.loads((tmp_path / "patients.json").read_text())[ATTENTION]
    assert by_patient["ben"]["dice"] == 0.9
    assert by_patient["ben"]["shifted"]["gamma-0.7"] == pytest.approx(0.8)


def test_an_outline_follows_pixel_edges_and_encircles_holes():
    mask = np.zeros((8, 8), bool)
    mask[1:7, 1:7] = True
    mask[3:5, 3:5] = False
    path = _outline_path(mask)
    assert path.count("M") == path.count("Z") == 2
    numbers = np.array(re.findall(r"[\d.]+", path), float)
    assert numbers.min() == pytest.approx(1, abs=0.15)
    assert numbers.max() == pytest.approx(7, abs=0.15)
    assert _outline_path(np.zeros((8, 8), bool)) == ""


def test_the_view_is_a_square_around_the_head():
    picture = np.zeros((100, 80), np.uint8)
    picture[20:60, 30:50] = 200
    assert _view_box(picture) == (16, 16, 48, 48)
