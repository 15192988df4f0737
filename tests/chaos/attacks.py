"""What an attacker or a very large study does to a site, while a client that behaves must be served."""

import bisect
import gzip
import io
import itertools
import resource
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import nibabel
import numpy as np
from tests.chaos.keeper import Keeper
from tests.chaos.site import Site

from metseg import phantom
from metseg.imaging import Shape, StudySize, peak_bytes
from metseg.phantom.dicom import SERIES_PARAMETERS, series_files

__all__ = ["idle_connections", "largest_study", "starved_key"]

CONNECTIONS = 700
GOOD_REQUESTS = 18
GOOD_S = 5.0
UPLOADS = 24
ELEMENTS = 130_000
FAIR_S = 10.0
LARGEST = (1023, 512, 512)
SPACING_MM = (1.0, 0.5, 0.5)
LARGEST_S = 1800.0
STUDY_TOO_LARGE = "/problems/study-too-large"


def idle_connections(site: Site, keeper: Keeper) -> None:
    """Open connections that send nothing, half a header or a byte a second; all other requests must be answered."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    address = urlsplit(site.api_url)
    beginnings = itertools.cycle([b"", b"GET /v1/jobs HTTP/1.1\r\nHost: ", upload_head(10**6)])
    with ExitStack() as stack:
        attackers = []
        for _ in range(CONNECTIONS):
            attacker = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=20))
            attacker.sendall(next(beginnings))
            attackers.append(attacker)
        for _ in range(GOOD_REQUESTS):
            with httpx.Client(base_url=site.api_url, timeout=GOOD_S) as client:  # a new connection for each
                assert client.get("/v1/jobs").status_code == httpx.codes.OK, "a good request was not answered"
            _send_a_byte(attackers)


def upload_head(size: int) -> bytes:
    """The headers of a submission of this size."""
    head = "POST /v1/jobs HTTP/1.1\r\nHost: gateway\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    return f"{head}Content-Length: {size}\r\n\r\n".encode()


def _send_a_byte(attackers: list[socket.socket]) -> None:
    for attacker in attackers:
        try:
            attacker.sendall(b"-")
        except OSError:  # the gateway has closed it, as it should
            continue


def starved_key(site: Site, keeper: Keeper) -> None:
    """One key sends many DICOM files with very many elements; the slice of another must be accepted soon."""
    heavy, light = ("a.dcm", heavy_dicom(ELEMENTS)), next(iter(keeper.first.slices.items()))
    with site.api_keys("greedy", "modest"), ThreadPoolExecutor(UPLOADS) as clients:
        attack = [clients.submit(_post, site, "greedy", heavy) for _ in range(UPLOADS)]
        time.sleep(2)
        began = time.monotonic()
        assert _post(site, "modest", light) == httpx.codes.ACCEPTED, "another key's slice was refused"
        took_s = time.monotonic() - began
        assert took_s < FAIR_S, f"another key's slice waited for {took_s:.0f} s"
        assert {each.result() for each in attack} <= {202, 429, 503}


def _post(site: Site, key: str, file: tuple[str, bytes]) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{site.api_url}/v1/jobs", files={"files": file}, headers=headers, timeout=120).status_code


def heavy_dicom(elements: int) -> bytes:
    """A slice whose header has so many private elements of 10 bytes."""
    made = phantom.head(5, slices=2, size_px=64).volume
    [content, *_] = series_files(
        made.pixels[..., 1].astype(np.uint16), made.affine, SERIES_PARAMETERS["flair"]
    ).values()
    pixels = content.index(b"\xe0\x7f\x10\x00")  # the pixel element, the last one
    added = (
        struct.pack("<HH2sH2s", 0x7001 + 2 * (number // 60_000), 0x1000 + number % 60_000, b"LO", 2, b"ab")
        for number in range(elements)
    )
    return content[:pixels] + b"".join(added) + content[pixels:]


def largest_study(site: Site, keeper: Keeper) -> None:
    """Send the largest studies that the worker accepts: segmented and downloaded, and no process killed for memory.

    These are 16 bits with a sign and uncertainty, cut to as many slices as fit into the worker's memory, and the most
    slices that the limits allow, 16 bits without a sign. One slice more than fits is refused with the limit.
    """
    before = {service: site.deaths(service) for service in ("api", "worker")}
    fitting = fitting_slices(LARGEST, site.memory_bytes("worker"))
    with httpx.Client(base_url=site.api_url, timeout=300) as client:
        refused = _submit_volume(client, (fitting + 1, *LARGEST[1:]), np.int16, uncertainty=True)
        assert refused.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE, "a study beyond the memory was not refused"
        assert refused.json()["type"] == STUDY_TOO_LARGE, f"it was refused with {refused.json()['type']}"
        for shape, dtype in (((fitting, *LARGEST[1:]), np.int16), (LARGEST, np.uint16)):
            _segment_and_download(client, keeper, _submit_volume(client, shape, dtype, uncertainty=dtype is np.int16))
    after = {service: site.deaths(service) for service in before}
    assert after == before, f"restarts, and processes killed for memory: {after}, before {before}"


def fitting_slices(shape: Shape, memory_bytes: int) -> int:
    """How many slices of a volume of int16 with uncertainty fit into a worker's memory; at most those of `shape`."""

    def needed(slices: int) -> int:
        size = StudySize((slices, *shape[1:]), 4, decoded=1, channels=1, spacing_mm=SPACING_MM)
        return peak_bytes(size, uncertainty=True)

    return bisect.bisect_right(range(1, shape[0] + 1), memory_bytes, key=needed)


def _submit_volume(
    client: httpx.Client, shape: Shape, dtype: type[np.integer[Any]], *, uncertainty: bool
) -> httpx.Response:
    files = {"files": ("largest.nii.gz", largest_nifti(shape, dtype), "application/gzip")}
    return client.post("/v1/jobs", files=files, data={"sequence": "flair", "uncertainty": str(uncertainty).lower()})


def _segment_and_download(client: httpx.Client, keeper: Keeper, answer: httpx.Response) -> None:
    assert answer.status_code == httpx.codes.ACCEPTED, f"a study that fits was refused: {answer.text}"
    job_id = answer.json()["id"]
    end = keeper.end(job_id, time.monotonic() + LARGEST_S)
    assert end == ("succeeded", ""), f"the largest study was accepted and ended as {end}"
    paths = [f"/v1/jobs/{job_id}/{each}" for each in ("overlay/5", "probability?format=zip", "mask?format=tiff")]
    with ThreadPoolExecutor(6) as clients:
        assert set(clients.map(lambda path: _download(client, path), paths * 2)) == {httpx.codes.OK}
    keeper.delete(job_id)


def _download(client: httpx.Client, path: str) -> int:
    with client.stream("GET", path) as response:
        for _ in response.iter_raw():
            pass
        return response.status_code


def largest_nifti(shape: Shape, dtype: type[np.integer[Any]] = np.int16) -> bytes:
    """A packed NIfTI volume: one phantom's slices over and over."""
    slices, rows, columns = shape
    header = nibabel.Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_dtype(dtype)
    header.set_data_shape((columns, rows, slices))
    header.set_sform(np.diag([*reversed(SPACING_MM), 1.0]), 1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    target = io.BytesIO()
    with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=1, mtime=0) as packed:
        packed.write(header.binaryblock + bytes(4))
        for pixels in itertools.islice(_repeated_slices(rows, dtype), slices):
            packed.write(pixels)
    return target.getvalue()


def _repeated_slices(size_px: int, dtype: type[np.integer[Any]]) -> Iterator[bytes]:
    grey = phantom.head(7, slices=4, size_px=size_px, lesions=2).volume.pixels[..., 1]
    return itertools.cycle([np.ascontiguousarray(each.astype(dtype)).tobytes() for each in grey])
