"""NRRD headers, as 3D Slicer and teem write them (https://teem.sourceforge.net/nrrd/format.html).

Header and voxels in one file, raw or gzipped. A detached header could name any file, so it is refused.
"""

import re
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Literal, cast

import numpy as np

from metseg.errors import UnsupportedFormat
from metseg.formats.volumes.header import (
    Compression,
    VolumeHeader,
    damaged,
    is_invertible,
    is_plausible,
    lps_affine,
    nifti_geometry,
)
from metseg.imaging import Affine, Float64Array

__all__ = ["read_header"]

FORMAT: Literal["NRRD"] = "NRRD"
MAX_HEADER_BYTES = 2**20
MAX_AXES = 16
END = re.compile(rb"\r?\n\r?\n")
VECTOR = re.compile(r"none|\([^)]*\)")
TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
DTYPES = {name: code for code, names in TYPES.items() for name in names}
ENCODINGS: dict[str, Compression | None] = {"raw": None, "gzip": "gzip", "gz": "gzip"}
BYTE_ORDERS = {"little": "<", "big": ">"}
SPACES = {
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
}
"""Signs that turn coordinates of a space into those to the left, back and head; other spaces are not a patient's."""
SPATIAL_KINDS = ("domain", "space")
MM_IN = {"m": 1000.0, "cm": 10.0, "um": 0.001, "µm": 0.001}
"""Millimetres per unit; every other unit counts as millimetres."""


def read_header(stream: BinaryIO) -> VolumeHeader:
    """Read and check a header.

    Raises:
        UnreadableImage: it is damaged.
        UnsupportedFormat: it names another file, or its voxels are of a type or encoding that is not read.
    """
    head = stream.read(MAX_HEADER_BYTES)
    end = END.search(head)
    fields = _fields(head[: end.start()] if end else head)
    if "data file" in fields or "datafile" in fields:
        raise UnsupportedFormat(
            "An NRRD header (.nhdr) names its voxels in another file; save the volume as one .nrrd file."
        )
    if end is None:
        raise damaged(FORMAT)
    try:
        return _parse_header(fields, end.end())
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise damaged(FORMAT) from error


def _fields(head: bytes) -> dict[str, str]:
    """The fields by name; comments and key/value pairs say nothing about the voxels."""
    lines = [line for line in head.decode("utf-8", "replace").splitlines()[1:] if not line.startswith("#")]
    pairs = (line.partition(": ") for line in lines if ":=" not in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _parse_header(fields: Mapping[str, str], start: int) -> VolumeHeader:
    if fields["encoding"].lower() not in ENCODINGS:
        raise UnsupportedFormat("The voxels of an NRRD file are text or compressed by bzip2; save it raw or gzipped.")
    compression = ENCODINGS[fields["encoding"].lower()]
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
    if int(fields.get("line skip", fields.get("lineskip", "0"))) or (skip < 0 and compression is not None):
        raise UnsupportedFormat("An NRRD file skips lines before its voxels; save it again.")
    if not -1 <= skip <= MAX_HEADER_BYTES:
        raise damaged(FORMAT)
    sizes = [int(size) for size in fields["sizes"].split()]
    if len(sizes) != int(fields["dimension"]) or not 1 <= len(sizes) <= MAX_AXES or min(sizes) < 1:
        raise damaged(FORMAT)
    axes, volumes = _axes(fields, sizes)
    shape = cast(tuple[int, int, int], tuple([sizes[axis] for axis in axes] + [1] * (3 - len(axes))))
    affine, has_position, has_spacing = _affine(fields, axes)
    return VolumeHeader(
        FORMAT,
        shape,
        volumes,
        _dtype(fields),
        start if skip >= 0 else skip,
        compression,
        max(skip, 0),
        1.0,
        0.0,
        affine,
        has_position,
        has_spacing,
        nifti_geometry(shape, affine),
    )


def _dtype(fields: Mapping[str, str]) -> np.dtype[np.generic]:
    code = DTYPES.get(fields["type"].lower())
    if code is None:
        raise UnsupportedFormat("The voxels of an NRRD file have an unsupported type; store numbers.")
    order = "|" if code.endswith("1") else BYTE_ORDERS[fields["endian"].lower()]
    return np.dtype(order + code)


def _axes(fields: Mapping[str, str], sizes: Sequence[int]) -> tuple[list[int], int | None]:
    """The axes in space, and the number of volumes along one more, the last.

    Raises:
        UnsupportedFormat: a voxel has several values, or the axes are not those of one volume or of several.
    """
    directions = _vectors(fields)
    kinds = fields.get("kinds", "").lower().split()
    if directions:
        spatial = [axis for axis, vector in enumerate(directions) if vector is not None]
    elif any(kind in SPATIAL_KINDS for kind in kinds):
        spatial = [axis for axis, kind in enumerate(kinds) if kind in SPATIAL_KINDS]
    else:
        spatial = list(range(len(sizes)))
    others = [axis for axis in range(len(sizes)) if (axis not in spatial or axis in spatial[3:]) and sizes[axis] > 1]
    spatial = spatial[:3]
    if len(spatial) < 2 or len(others) > 1 or (others and others[0] < max(spatial)):
        raise UnsupportedFormat(
            "An NRRD file has several values for each voxel (colours, vectors, segments) or too few axes in space; "
            "send one volume per file."
        )
    return spatial, sizes[others[0]] if others else None


def _vectors(fields: Mapping[str, str]) -> list[Float64Array | None]:
    """The direction of each axis; None for one that is not in space."""
    return [None if text == "none" else _vector(text) for text in VECTOR.findall(fields.get("space directions", ""))]


def _vector(text: str) -> Float64Array:
    return np.array([float(part) for part in text.strip("()").split(",")])


def _affine(fields: Mapping[str, str], axes: Sequence[int]) -> tuple[Affine, bool, bool]:
    """From voxels to RAS+ millimetres, whether the header has it, and whether it has the sizes of voxels."""
    vectors = _vectors(fields)
    if vectors:
        directions = np.stack([cast(Float64Array, vectors[axis]) for axis in axes], axis=1) * _unit_mm(fields)
        sizes = np.linalg.norm(directions, axis=0)
        signs = SPACES.get(fields.get("space", "").lower())
        if signs is not None and directions.shape == (3, 3):
            origin = _vector(fields.get("space origin", "(0,0,0)")) * _unit_mm(fields)
            affine = lps_affine(np.diag(signs) @ directions, np.diag(signs) @ origin)
            if is_invertible(affine):
                return affine, True, True
    else:
        words = fields.get("spacings", "").split()
        sizes = np.array([float(words[axis]) for axis in axes if axis < len(words)])
    has_spacing = len(sizes) == 3 and bool(is_plausible(sizes).all())
    return lps_affine(np.diag(sizes if has_spacing else np.ones(3)), np.zeros(3)), False, has_spacing


def _unit_mm(fields: Mapping[str, str]) -> float:
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    return MM_IN.get(units[0], 1.0) if units else 1.0
