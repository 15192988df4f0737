"""On real MRI: what the trainer measured is what the gateway returns. Needs the folder METSEG_REAL_DATA."""

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.gateways import running
from tests.models import STARTER

from metseg.contracts import Job, JobStatus, ModelCard
from metseg.imaging import ROLES, Preprocessor, Volume, present_sequences
from metseg.inference import OnnxPredictor, detect_out_of_distribution, recognise_sequence, segment
from metseg.registry import Registry
from metseg.settings import Settings
from metseg_trainer.data import Patient, load_patient, scan_folder, split_patients, split_sha256
from metseg_trainer.evaluation import CORRUPTIONS, EvaluationPatient, evaluate_model
from metseg_trainer.training import PRESETS
from metseg_worker.context import open_context
from metseg_worker.setup import seed
from metseg_worker.tasks import run_job

pytestmark = pytest.mark.real_data

PUBLIC_PATIENTS, PROMISED_DICE = 88, 0.82


@pytest.fixture(scope="module")
def patients():
    folder = os.environ.get("METSEG_REAL_DATA")
    if not folder:
        pytest.skip("METSEG_REAL_DATA names no folder of TCGA_* patients, so real MRI was not tested")
    return scan_folder(Path(folder))


@pytest.fixture(scope="module")
def starter():
    card = ModelCard.model_validate_json((STARTER / "card.json").read_bytes())
    return OnnxPredictor(card, (STARTER / "model.onnx").read_bytes(), threads=2)


def test_the_public_data_set_is_read_completely(patients):
    _, audit = patients
    assert audit.slices > 0
    assert (audit.images_without_mask, audit.masks_without_image) == ((), ())
    assert (audit.unreadable, audit.shape_mismatch, audit.unusable_patients) == ((), (), ())


def test_the_starter_model_reaches_the_metrics_of_its_card(patients, starter):
    everyone, _ = patients
    if len(everyone) != PUBLIC_PATIENTS:
        pytest.skip(f"the starter model's split needs the {PUBLIC_PATIENTS} patients it was drawn from")
    drawn = split_patients(everyone, PRESETS["standard"].seed)
    assert split_sha256(drawn) == starter.card.data.split_sha256
    test = [patient for patient in everyone if patient.id in drawn.test]
    stripped = {"stripped": CORRUPTIONS["stripped"]}
    found = evaluate_model(
        "starter",
        starter,
        (EvaluationPatient.from_volume(one.id, one.site, *load_patient(one)) for one in test),
        stripped,
    )
    promised = starter.card.figures[starter.card.network]
    assert found.summary.mean == pytest.approx(promised.mean, abs=0.002)
    assert found.summary.mean_single_slices == pytest.approx(promised.mean_single_slices, abs=0.002)
    assert found.summary.mean >= PROMISED_DICE
    recorded, again = starter.card.evaluation[starter.card.network], found.card()
    assert again.measures["hd95_mm"].mean == pytest.approx(recorded.measures["hd95_mm"].mean, abs=0.5)
    assert again.robustness["skull taken away"].mean == pytest.approx(
        recorded.robustness["skull taken away"].mean, abs=0.002
    )


def test_test_patients_are_in_distribution_until_they_are_rotated(patients, starter):
    everyone, _ = patients
    if len(everyone) != PUBLIC_PATIENTS:
        pytest.skip(f"the starter model's split needs the {PUBLIC_PATIENTS} patients it was drawn from")
    drawn = split_patients(everyone, PRESETS["standard"].seed)
    flagged: dict[str, list[bool]] = {"as they are": [], "upside down": [], "sagittal": [], "single slices": []}
    for patient in (one for one in everyone if one.id in drawn.test):
        volume, _ = load_patient(patient)
        sagittal = np.ascontiguousarray(volume.pixels.transpose(2, 0, 1, 3)[64:192:4])
        flagged["as they are"].append(_unlike(volume, starter))
        flagged["upside down"].append(_unlike(replace(volume, pixels=volume.pixels[:, ::-1].copy()), starter))
        flagged["sagittal"].append(_unlike(Volume(sagittal, tuple(map(str, range(len(sagittal))))), starter))
        count = len(volume.names)
        inner = list(volume.single_slices())[round(count / 8) : round(count * 7 / 8)]
        flagged["single slices"] += [_unlike(one, starter) for one in inner if one is not None]
    shares = {kind: sum(found) / len(found) for kind, found in flagged.items()}
    print({kind: f"{share:.3f} of {len(flagged[kind])}" for kind, share in shares.items()})
    assert shares["as they are"] <= 0.06
    assert shares["upside down"] >= 0.9
    assert shares["sagittal"] == 1
    assert shares["single slices"] <= 0.1


def _unlike(volume: Volume, starter: OnnxPredictor) -> bool:
    scale = starter.preprocessing.pixel_scale
    return detect_out_of_distribution(
        Preprocessor(starter.preprocessing).prepare(volume), volume.present, starter.card.familiarity, scale
    ).unlike


def test_rest_returns_to_the_pixel_what_the_trainer_evaluates(patients, starter, redis, s3):
    everyone, _ = patients
    settings = Settings(**redis.settings(), **s3.settings(), s3_bucket="real-data")
    with running(settings) as gateway:
        seed(Registry(gateway.store), STARTER)
        worker = open_context(settings)
        for patient in everyone[:: max(1, len(everyone) // 3)][:3]:
            volume, _ = load_patient(patient)
            answer = gateway.http.post("/v1/jobs", files={"files": ("study.zip", _zip(patient), "application/zip")})
            assert answer.status_code == 202, answer.text
            job = Job.model_validate(answer.json())
            run_job(worker, job.id)
            assert gateway.jobs.get(job.id).status is JobStatus.SUCCEEDED
            for structure, expected in segment(volume, starter).structures.items():
                masks = gateway.http.get(f"/v1/jobs/{job.id}/mask", params={"format": "zip", "structure": structure})
                assert np.array_equal(_masks(masks.content, volume.names), expected.mask)
            gateway.jobs.delete(job.id)


def _zip(patient: Patient) -> bytes:
    """The patient's public folder as it is, masks included."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for pair in patient.slices:
            archive.write(pair.image, f"{patient.id}/{pair.image.name}")
            archive.write(pair.mask, f"{patient.id}/{pair.mask.name}")
    return packed.getvalue()


def _masks(packed: bytes, names: tuple[str, ...]) -> np.ndarray:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return np.stack([np.asarray(Image.open(archive.open(f"{name}_mask.png"))) > 0 for name in names])


def test_no_sequence_of_a_test_patient_is_taken_for_another(patients):
    everyone, _ = patients
    drawn = split_patients(everyone, PRESETS["standard"].seed)
    right = asked = 0
    for patient in everyone:
        if patient.id not in drawn.test:
            continue
        pixels = load_patient(patient)[0].pixels
        for channel, (role, present) in enumerate(zip(ROLES, present_sequences(pixels), strict=True)):
            if present:
                found = recognise_sequence(pixels[..., channel])
                assert found.role in (role, None)
                right, asked = right + (found.role == role), asked + 1
    assert right >= 0.85 * asked
