"""Small NIfTI files for tests: any order, position, type and compression."""

import gzip
import io
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation
from tests.unit.pictures import LIMITS, upload

from metseg.formats import Upload, inspect_upload, read_volume
from metseg.imaging import Volume
from metseg.phantom import head
from metseg.settings import Limits

TITLED = np.eye(4)
TITLED[:3, :3] = Rotation.from_euler("xyz", [-15, 4, 2], degrees=True).as_matrix() * (-0.9, -0.85, 5.0)
TITLED[:3, 3] = 88.0, 91.0, -40.0
"""A tilted axial scan, rows from the front to the back, columns from the right to the left."""

ORDERS = [
    (axes, senses) for axes in itertools.permutations(range(3)) for senses in itertools.product((1, -1), repeat=3)
]
"""The axis in space of each axis of a file, and whether it runs along it or against it."""


def nifti(voxels, affine=TITLED, *, pack=True, version=1, order="<", qform=1, sform=1, slope=None, units="mm"):
    """The bytes of a NIfTI file. `voxels` are stored as they are; `affine` may be None."""
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    header = kind.header_class(endianness=order)
    header.set_data_dtype(voxels.dtype.newbyteorder(order))
    header.set_data_shape(voxels.shape)
    header.set_xyzt_units(units)
    if affine is not None:
        if qform:
            header.set_qform(affine, qform, strip_shears=True)
        header.set_sform(affine, sform)
    if slope is not None:
        header.set_slope_inter(*slope)
    header["magic"] = b"n+1" if version == 1 else b"n+2\x00\r\n\x1a\n"
    header["vox_offset"] = len(header.binaryblock) + 4
    stored = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F")
    data = header.binaryblock + bytes(4) + stored
    return gzip.compress(data, 1, mtime=0) if pack else data


def skull(seed=3, slices=6, size_px=64):
    """A phantom, float32, (column, row, slice, channel), with the affine `TITLED`."""
    pixels = head(seed, slices=slices, size_px=size_px, lesions=2).volume.pixels
    return pixels.transpose(2, 1, 0, 3).astype(np.float32)


def study(**files: bytes) -> list[Upload]:
    """Files without roles, named after the keywords."""
    return [upload(data, f"{name}.nii.gz") for name, data in files.items()]


def volume_of(*sent: Upload, **options: object) -> Volume:
    return read_volume(list(sent), Limits(), **options)


def loaded(data: bytes) -> nibabel.Nifti1Image:
    """The bytes as nibabel reads them."""
    plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    kind = nibabel.Nifti2Image if plain[4:7] == b"n+2" else nibabel.Nifti1Image
    return kind.from_stream(io.BytesIO(plain))


def saved_by_itk(voxels, affine, suffix, *, compress=False, name="scan"):
    """The files, by name, that SimpleITK writes: `voxels` as they are stored, `affine` to RAS+."""
    placed = np.diag([-1, -1, 1, 1]) @ affine
    sizes = np.linalg.norm(placed[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.T))
    image.SetOrigin(placed[:3, 3].tolist())
    image.SetSpacing(sizes.tolist())
    image.SetDirection((placed[:3, :3] / sizes).ravel().tolist())
    with TemporaryDirectory() as folder:
        SimpleITK.WriteImage(image, f"{folder}/{name}{suffix}", useCompression=compress)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def opened_by_itk(name, content):
    """A file as SimpleITK reads it: voxels as they are stored, and the affine to RAS+."""
    with TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(content)
        image = SimpleITK.ReadImage(f"{folder}/{name}")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


def ours(voxels):
    """Voxels with the affine `TITLED`, as (slice, row, column)."""
    return voxels.transpose(2, 1, 0)


def refused(error, *uploads):
    """The sentence with which gateway and worker refuse an upload; both say the same."""
    with pytest.raises(error) as at_the_gateway:
        inspect_upload(uploads, LIMITS)
    with pytest.raises(error) as in_the_worker:
        read_volume(uploads, LIMITS)
    assert at_the_gateway.value.detail == in_the_worker.value.detail
    return at_the_gateway.value.detail
