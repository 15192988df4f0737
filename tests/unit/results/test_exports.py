"""Exports: tables that are safe in spreadsheets, a report that runs nothing, an animation, overlays, maps."""

import codecs
import csv
import gzip
import io
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from typing import get_args

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from tests.finished_jobs import finished_job, job_that_found, made
from tests.models import STARTER
from tests.slice_archives import archived

from metseg import phantom
from metseg.contracts import Lesion, ModelCard, OutOfDistribution
from metseg.errors import InvalidParameter, NoCore, ProcessingFailed
from metseg.formats import read_mask
from metseg.imaging import FLAIR, POST, draw_contours
from metseg.imaging.rendering import LESION_RGB
from metseg.results import SLICE_ARCHIVE, exports
from metseg.results.exports import animation, outlined_channel, tables

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


@pytest.fixture(scope="module")
def job():
    return finished_job()


def named(*names, **changes):
    return finished_job(slices=len(names), names=names, **changes)


ONE = finished_job(slices=1, found=1)


def called(name):
    """A job of one slice of that name."""
    slices = [each.model_copy(update={"name": name}) for each in ONE.figures.slices]
    return replace(ONE, figures=ONE.figures.model_copy(update={"slices": slices}))


def rows(data):
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))


def opened(data):
    return Image.open(io.BytesIO(data))


class Page(HTMLParser):
    """The tags, attributes and words of a page."""

    def __init__(self, data):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(data.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_a_table_has_a_row_per_lesion_and_units(job):
    found = rows(made(exports.write_lesions_csv, job))
    assert [int(row["number"]) for row in found] == [lesion.number for lesion in job.figures.lesions]
    for row, lesion in zip(found, job.figures.lesions, strict=True):
        assert float(row["volume_mm3"]) == pytest.approx(lesion.volume_mm3, abs=1e-3)
        assert float(row["long_diameter_mm"]) == pytest.approx(lesion.long_diameter_mm, abs=1e-3)
        assert float(row["centroid_row_index"]) == pytest.approx(lesion.centroid[1], abs=1e-3)
        assert int(row["largest_slice_number"]) == lesion.largest_slice + 1
        assert row["target"] == ("yes" if lesion.target else "no")
        assert int(row["box_stop_slice_index"]) == lesion.box.stop[0]
        assert row["largest_slice_name"] == job.figures.slices[lesion.largest_slice].name


def test_a_table_has_every_field_of_a_lesion_but_where_its_diameters_run(job):
    columns = set(rows(made(exports.write_lesions_csv, job))[0])
    wanted = set(Lesion.model_fields) - {"box", "largest_slice", "diameters"} - set(tables.AXES)
    assert wanted <= columns
    assert {name for title in Lesion.model_fields for name in tables.AXES.get(title, ())} <= columns


def test_a_table_without_lesions_has_a_header():
    data = made(exports.write_lesions_csv, finished_job(found=0))
    assert data.startswith(b"\xef\xbb\xbfnumber,label,finding,target,long_diameter_mm,")
    assert data.endswith(b"reviewed,model_version,threshold\r\n")
    assert data.count(b"\r\n") == 1
    assert json.loads(made(exports.write_lesions_json, finished_job(found=0)))["lesions"] == []


def test_a_table_opens_as_a_spreadsheet_expects():
    """Umlauts are no two characters, and numbers have a point and no more digits than they mean."""
    data = made(exports.write_lesions_csv, called("Müller-Lüdenscheidt"))
    assert data.startswith(codecs.BOM_UTF8)
    assert "Müller-Lüdenscheidt" in data.decode("utf-8-sig")
    for row in rows(data):
        assert re.fullmatch(r"\d+(\.\d{1,3})?", row["volume_mm3"])
        assert re.fullmatch(r"\d+(\.\d{1,3})?", row["perpendicular_diameter_mm"])


def test_a_readers_label_is_in_the_table_and_is_no_formula():
    [lesion, *others] = ONE.figures.lesions
    lesions = [lesion.model_copy(update={"label": "=1+1"}), *others]
    job = replace(ONE, figures=ONE.figures.model_copy(update={"lesions": lesions}))
    assert rows(made(exports.write_lesions_csv, job))[0]["label"] == "'=1+1"


def test_without_spacing_millimetre_cells_are_empty():
    for row in rows(made(exports.write_lesions_csv, finished_job(spacing_mm=None))):
        assert {row[name] for name in row if name.endswith(("_mm", "_mm2", "_mm3"))} == {""}
        assert float(row["long_diameter_px"]) > 0


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_no_name_becomes_a_formula_or_breaks_a_row(name):
    found = rows(made(exports.write_lesions_csv, called(name)))
    assert [int(row["number"]) for row in found] == [lesion.number for lesion in ONE.figures.lesions]
    for row in found:
        assert row["largest_slice_name"] in (name, f"'{name}")
        assert not row["largest_slice_name"].startswith(tables.FORMULA)


@pytest.mark.parametrize("begin", [*tables.FORMULA, "＝", "＋", "－", "＠", " =", "\u3000＝", "\t", "\r"])
def test_a_text_that_starts_a_formula_is_quoted(begin):
    job = called(f"{begin}cmd|' /C calc'!A1")
    assert {row["largest_slice_name"] for row in rows(made(exports.write_lesions_csv, job))} == {
        f"'{begin}cmd|' /C calc'!A1"
    }


def test_the_json_has_the_studys_and_the_lesions_fields(job):
    table = json.loads(made(exports.write_lesions_json, job))
    assert table["model_version"] == job.figures.model_version
    assert table["spacing_mm"] == list(job.figures.spacing_mm)
    assert "Research use only" in table["disclaimer"]
    assert [lesion["number"] for lesion in table["lesions"]] == [lesion.number for lesion in job.figures.lesions]
    assert {"job_id", "durations_s"} & table.keys() == set(), "equal studies give equal tables"


def test_a_report_runs_and_fetches_nothing(job):
    page = Page(made(exports.render_report, job))
    assert {"script", "iframe", "object", "embed", "link", "form", "base"} & set(page.tags) == set()
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    sources = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert sources
    assert all(value.startswith("data:image/webp;base64,") for value in sources)
    assert ("meta", "http-equiv", "Content-Security-Policy") in page.attributes
    assert "url(" not in made(exports.render_report, job).decode()


def test_names_and_warnings_of_an_upload_are_escaped_in_a_report():
    job = named(HOSTILE, "Müller-Lüdenscheidt größer ß", "日本語", warnings=(HOSTILE,))
    page = Page(made(exports.render_report, job))
    assert page.tags.count("img") == len({lesion.largest_slice for lesion in job.figures.lesions})
    assert HOSTILE in page.text
    assert "49" not in page.text.split(HOSTILE)[1][:5]
    assert not [name for _, name, _ in page.attributes if name == "onerror"]


def test_a_report_keeps_umlauts():
    job = named("Müller-Lüdenscheidt größer ß", found=1)
    assert "Müller-Lüdenscheidt größer ß" in Page(made(exports.render_report, job)).text


@pytest.mark.parametrize("structure", ["core", "whole"])
def test_a_report_has_sizes_in_millimetres_and_the_models_evaluation(job, structure):
    card = ModelCard.model_validate_json((STARTER / "card.json").read_bytes())
    figures = job.figures.model_copy(update={"network": card.network, "structure": structure})
    gliomas, drawn = card.evaluation[card.network], card.further_evaluation["drawn metastases, core"]
    dice = (gliomas if structure == "whole" else drawn).measures["dice"]
    [largest, *_] = figures.lesions
    text = Page(made(exports.render_report, replace(job, figures=figures, of_model=card))).text.split("metseg ·")[1]
    assert f"{largest.long_diameter_mm:.1f} {largest.perpendicular_diameter_mm:.1f}" in text
    assert f"Dice by patient {dice.mean:.3f}" in text
    assert ("Tested on drawn metastases" in text) == (structure == "core")
    assert "18 test patients" in text
    assert figures.model_version in text
    assert "Research use only. Not a medical device" in text
    assert "px" not in text


def test_a_report_without_spacing_gives_sizes_in_pixels():
    text = Page(made(exports.render_report, finished_job(spacing_mm=None))).text
    assert "Longest diameter, px" in text
    assert "not in millimetres" in text
    assert ", mm" not in text


def test_a_report_without_lesions_does_not_rule_them_out():
    text = Page(made(exports.render_report, finished_job(found=0))).text
    assert "No lesion was marked" in text
    assert "That does not mean that there is none." in text


def test_a_report_of_many_lesions_shows_the_largest_and_counts_the_rest():
    job = finished_job(seed=3, slices=24, found=14, size_px=96)
    more = len(job.figures.lesions) - 10
    page = Page(made(exports.render_report, job))
    assert more > 0
    assert page.tags.count("tr") == 11
    assert page.tags.count("img") == 3
    assert f"{more} smaller one" in page.text


def test_a_report_shows_the_results_warnings_and_uncertainty(job):
    unlike = OutOfDistribution(score=9, limit=2, unlike=True, words="Unlike the model's training data.")
    lesions = [lesion.model_copy(update={"uncertainty": 0.34, "target": True}) for lesion in job.figures.lesions]
    changes = {"familiarity": unlike, "uncertainty_words": "Sure.", "target_diameter_sum_mm": 12.34, "lesions": lesions}
    figures = job.figures.model_copy(update=changes)
    text = Page(made(exports.render_report, replace(job, figures=figures))).text
    assert "Unlike the model's training data." in text
    assert "Sure." in text
    assert "1 (proposed target)" in text
    assert "0.34" in text
    assert "mm, sum of target diameters 12.3" in text


def test_an_animation_has_a_frame_per_slice_with_outlines(job):
    film = opened(made(exports.render_animation, job))
    frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]
    assert (film.format, len(frames)) == ("WEBP", len(job.mask))
    marked = [(np.abs(frame - LESION_RGB).max(axis=2) < 60).any() for frame in frames]
    assert marked == job.mask.any(axis=(1, 2)).tolist()


def test_the_frames_of_an_animation_have_the_shape_of_the_head():
    film = opened(made(exports.render_animation, finished_job(spacing_mm=(5.0, 2.0, 1.0))))
    assert film.size == (256, 512)


def test_an_animation_of_a_single_slice_is_an_image():
    assert getattr(opened(made(exports.render_animation, finished_job(slices=1, found=1))), "n_frames", 1) == 1


def test_an_animation_of_a_long_study_skips_slices_and_holds_one_in_memory(monkeypatch):
    monkeypatch.setattr(animation, "MAX_FRAMES", 3)
    job = finished_job(slices=7)
    assert opened(made(exports.render_animation, job)).n_frames == 3
    shown = [name for name in job.asked if name.startswith("slice ")]
    assert list(dict.fromkeys(shown)) == ["slice 0", "slice 3", "slice 6"]


def test_a_damaged_image_is_reported(job):
    broken = finished_job()
    broken.artefacts[SLICE_ARCHIVE] = archived([b"no picture"])
    with pytest.raises(ProcessingFailed, match="submit the study again"):
        made(exports.render_animation, broken)


def test_overlays_are_outlined_slices_with_their_uploaded_names(job):
    archive = zipfile.ZipFile(io.BytesIO(made(exports.write_overlays, job)))
    assert archive.namelist() == [f"{each.name}_overlay.png" for each in job.figures.slices]
    assert made(exports.write_overlays, job) == made(exports.write_overlays, job)
    for index, name in enumerate(archive.namelist()):
        content = archive.read(name)
        assert content == made(exports.render_overlay, job, index)
        pixels = np.asarray(opened(content))
        assert pixels.shape[:2] == job.mask.shape[1:]
        assert (pixels == LESION_RGB).all(axis=2).any() == job.mask[index].any()


@pytest.mark.parametrize(("structure", "channel"), [("core", POST), ("whole", FLAIR)])
def test_a_structure_is_outlined_on_the_sequence_that_defines_it(job, structure, channel):
    figures = job.figures.model_copy(update={"structure": structure})
    index = int(job.mask.sum(axis=(1, 2)).argmax())
    expected = draw_contours(job.slice_png(index), job.mask[index], channel)
    assert made(exports.render_overlay, replace(job, figures=figures), index) == expected
    assert outlined_channel(structure) == channel


def test_maps_are_exported_in_every_format(job):
    assert made(exports.export_mask, job, "nifti") == job.artefacts["mask.nii.gz"]
    assert made(exports.export_probability, job, "nifti") == job.artefacts["probability.nii.gz"]
    np.testing.assert_array_equal(read_mask(made(exports.export_mask, job, "nifti")), job.mask)
    assert made(exports.export_mask, job, "zip").startswith(b"PK")
    assert made(exports.export_probability, job, "tiff").startswith(b"II")


ARTEFACTS = {"uncertainty.nii.gz": "probability.nii.gz", "segmentation.dcm": "mask.nii.gz", "report.dcm": "mask.nii.gz"}
"""Stand-ins for artefacts that a phantom's job does not have."""


OF_HEADERS = {"rtstruct", "secondary-capture"}
"""Made of a DICOM study's headers; test_planning and test_captures make them."""


@pytest.mark.parametrize("export", [exports.EXPORTS[name] for name in exports.EXPORTS if name not in OF_HEADERS])
def test_every_export_has_its_media_type(export):
    job = finished_job(slices=1, found=1)
    job.artefacts |= {name: job.artefacts[stand_in] for name, stand_in in ARTEFACTS.items()}
    begins = {
        "application/dicom": b"",
        "application/gzip": b"\x1f\x8b",
        "application/json": b"{",
        "application/zip": b"PK",
        "image/png": b"\x89PNG",
        "image/tiff": b"II*",
        "image/webp": b"RIFF",
        "text/csv": b"\xef\xbb\xbfnumber,",
        "text/html": b"<!DOCTYPE html>",
    }
    assert made(export.write, job).startswith(begins[export.media_type])
    assert export.source_of(job.result()) in job.asked or export.kind == "lesions"


@pytest.mark.parametrize("name", ["core", "core-zip", "labels", "core-probability"])
def test_without_a_core_its_exports_are_refused_by_name(name):
    job = finished_job(slices=1, found=1)
    job.figures = job.figures.model_copy(update={"structure": "whole"})
    with pytest.raises(NoCore, match="post-contrast"):
        made(exports.EXPORTS[name].write, job)


def test_core_and_whole_are_exported_apart():
    head = phantom.head(3, slices=3, size_px=64, lesions=2)
    core = head.mask & (np.arange(64) % 2 == 0)
    job = job_that_found(head.volume, core, whole=head.mask)
    written = {name: made(exports.EXPORTS[name].write, job) for name in ("core", "nifti", "labels")}
    assert np.array_equal(read_mask(written["core"]), core)
    assert np.array_equal(read_mask(written["nifti"]), head.mask)
    labels = np.asarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(written["labels"])).dataobj).T
    assert np.array_equal(labels, np.where(core, 1, np.where(head.mask, 2, 0)))


def test_a_label_map_has_the_numbers_of_the_report():
    job = finished_job(seed=3, slices=24, found=14, size_px=96)
    file = nibabel.Nifti1Image.from_bytes(gzip.decompress(made(exports.EXPORTS["lesion-numbers"].write, job)))
    numbers = np.asarray(file.dataobj).T
    assert numbers.dtype == np.uint8, "labels are whole numbers, unscaled"
    for lesion in job.figures.lesions:
        voxels = np.argwhere(numbers == lesion.number)
        assert (len(voxels), *voxels.min(axis=0)) == (lesion.voxels, *lesion.box.first)
    assert np.array_equal(numbers > 0, job.mask)


def test_url_formats_match_the_registry():
    literals = {
        "mask": exports.MaskFormat,
        "probability": exports.ProbabilityFormat,
        "uncertainty": exports.ProbabilityFormat,
        "lesions": exports.LesionsFormat,
    }
    for kind, literal in literals.items():
        assert [exports.find_export(kind, format).format for format in get_args(literal)] == list(get_args(literal))
        assert len(exports.media_types(kind)) == len(set(get_args(literal)) - {"rtstruct"}), "which is DICOM as well"
    with pytest.raises(InvalidParameter):
        exports.find_export("mask", "gif")


def test_the_registry_and_the_client_need_no_imaging_library():
    """The extra `client` installs neither numpy nor Pillow."""
    blocked = ["numpy", "PIL", "cv2", "scipy", "nibabel", "pydicom", "jinja2", "redis", "minio", "celery"]
    code = f"""
import sys
sys.modules.update(dict.fromkeys({blocked}))
from metseg.client import Client, find_studies
from metseg.cli.main import _parser
from metseg.results.exports import EXPORTS
assert EXPORTS["nifti"].media_type == "application/gzip"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
