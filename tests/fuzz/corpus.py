"""Valid small files of every format that is read, made by code, for fuzzing to break."""

import gzip
import io
import zlib

import nibabel
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from tests.unit.pictures import deep_png, noise, pillow, png, tiff, zipped

from metseg import phantom

HOSTILE_NAMES = (
    "../../../../tmp/metseg-fuzz-escape.png",
    "/tmp/metseg-fuzz-escape.png",
    "..\\..\\metseg-fuzz-escape.png",
    "C:\\metseg-fuzz-escape.png",
    "metseg-fuzz-escape\x00.png",
    "\\\\host\\share\\metseg-fuzz-escape.nii.gz",
    "file:///tmp/metseg-fuzz-escape.tif",
    "metseg-fuzz-escape" * 60 + ".zip",
    "|touch metseg-fuzz-escape",
    "~/metseg-fuzz-escape.dcm",
    "\u202emetseg-fuzz-escape.gnp",
)
"""Names of uploads and members; all contain `metseg-fuzz-escape`, so that a path made of one is noticed."""


def corpus() -> dict[str, bytes]:
    """The files by kind."""
    frames = [Image.fromarray(noise(40, 48, seed=seed)) for seed in range(3)]
    brain = phantom.head(5, slices=3, lesions=1).volume.pixels[:, ::4, ::4]
    files = {
        "png": png(brain[1]),
        "png-palette": pillow(frames[0].convert("RGB").quantize(9), transparency=b"\x00\x80"),
        "png-interlaced-16-bits": deep_png(noise(40, 48, 3, dtype="uint16")),
        "png-black-and-white": pillow(noise(40, 48) > 99),
        "jpeg": pillow(brain[1], "JPEG", exif=pillow(frames[0], "TIFF")[:200]),
        "jpeg-progressive": pillow(brain[1], "JPEG", progressive=True),
        "tiff": tiff(brain),
        "tiff-16-bits": tiff(noise(2, 40, 48, dtype="uint16"), compression="zlib"),
        "tiff-float-tiles": tiff(noise(40, 48, 3, dtype="float32"), tile=(16, 16), byteorder=">"),
        "tiff-big": tiff(noise(40, 48), bigtiff=True),
        "tiff-lzw": pillow(frames[0], "TIFF", save_all=True, append_images=frames[1:], compression="tiff_lzw"),
        "tiff-fax": pillow(noise(40, 48) > 99, "TIFF", compression="group4"),
        "tiff-jpeg": pillow(brain[1], "TIFF", compression="jpeg"),
        "zip": zipped({f"patient/{index}.png": png(pixels) for index, pixels in enumerate(brain)}),
        "zip-of-everything": zipped({"a/1.png": png(), "a/1_mask.png": png(), "a/2.tif": tiff(noise(20, 24))}),
        "zip-of-hostile-names": zipped({name: png() for name in HOSTILE_NAMES[4:]}),
    }
    files |= _niftis(brain)
    return files | _dicoms(brain)


def _niftis(brain: npt.NDArray[np.uint8]) -> dict[str, bytes]:
    volume = np.ascontiguousarray(brain[..., 1].transpose(2, 1, 0))
    affine = np.diag([0.9, -0.9, 5.5, 1.0])
    plain = nibabel.Nifti1Image(volume.astype(np.int16), affine)
    big = nibabel.Nifti1Image(volume.astype(">f4"), affine, nibabel.Nifti1Header(endianness=">"))
    colours = nibabel.Nifti1Image(np.stack([volume, volume, volume], axis=-1), affine)
    files = {
        "nifti": plain.to_bytes(),
        "nifti-packed": gzip.compress(plain.to_bytes(), mtime=0),
        "nifti-big-endian-float": big.to_bytes(),
        "nifti-2": nibabel.Nifti2Image(volume, affine).to_bytes(),
        "nifti-of-four-dimensions": colours.to_bytes(),
    }
    files |= _itk_files(volume)
    return files | {"zip-of-nifti": zipped({"a/t1.nii": plain.to_bytes(), "a/flair.nii.gz": files["nifti-packed"]})}


def _itk_files(volume: npt.NDArray[np.uint8]) -> dict[str, bytes]:
    """NRRD and MetaImage, raw and compressed."""
    sizes = " ".join(map(str, volume.shape))
    nrrd = (
        f"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
        "space directions: (0.9,0,0) (0,0.9,0) (0,0,5.5)\nkinds: domain domain domain\nspace origin: (0,0,0)\n"
    )
    mha = (
        f"ObjectType = Image\nNDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
        f"ElementSpacing = 0.9 0.9 5.5\nDimSize = {sizes}\nElementType = MET_UCHAR\n"
    )
    voxels = volume.tobytes(order="F")
    return {
        "nrrd": f"{nrrd}encoding: raw\n\n".encode() + voxels,
        "nrrd-packed": f"{nrrd}encoding: gzip\n\n".encode() + gzip.compress(voxels, mtime=0),
        "mha": f"{mha}ElementDataFile = LOCAL\n".encode() + voxels,
        "mha-packed": f"{mha}CompressedData = True\nElementDataFile = LOCAL\n".encode() + zlib.compress(voxels),
    }


def _dicoms(brain: npt.NDArray[np.uint8]) -> dict[str, bytes]:
    """A DICOM slice, and a series of three."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    files = {}
    for index, pixels in enumerate(brain[..., 1].astype(np.uint16)):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.Modality, image.SeriesDescription, image.InstanceNumber = "MR", "AX FLAIR", index + 1
        image.PatientName, image.PatientID = "PLANTED^JOHANNA", "MRN-5550199"
        image.Rows, image.Columns = pixels.shape
        image.PixelSpacing, image.SliceThickness = [0.9, 0.9], 5.5
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 5.5 * index], [1, 0, 0, 0, 1, 0]
        image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.PixelData = pixels.tobytes()
        target = io.BytesIO()
        image.save_as(target, enforce_file_format=True)
        files[f"dicom-{index}"] = target.getvalue()
    series_of_files = {f"a/{index}.dcm": data for index, data in enumerate(files.values())}
    return {"dicom": files["dicom-0"], "zip-of-dicom": zipped(series_of_files)}
