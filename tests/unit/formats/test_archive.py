import io
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from tests.unit.pictures import LIMITS, noise, png, tiff, upload, zipped
from tests.unit.volumes import nifti

from metseg.errors import (
    ArchiveBomb,
    BadArchive,
    EmptyUpload,
    SeveralPatients,
    TooManyFiles,
    UnreadableImage,
    UnsupportedFormat,
    UnusableImage,
)
from metseg.formats import Upload, inspect_upload, read_volume
from metseg.formats.archive import Archive
from metseg.settings import MIB, Limits


def refused(error, data, limits=LIMITS):
    for function in (inspect_upload, read_volume):
        with pytest.raises(error) as caught:
            function([upload(data, "study.zip")], limits)
        assert caught.type is error
    return caught.value.detail


def slices(count, folder="", seed=0):
    return {f"{folder}p_{number}.png": png(noise(20, 24, seed=seed + number)) for number in range(1, count + 1)}


def test_the_slices_of_an_archive_are_in_numeric_order():
    stored = {number: noise(20, 24, seed=number) for number in (10, 9, 2, 1, 100)}
    volume = read_volume(
        [upload(zipped({f"TCGA_X_{number}.tif": tiff(grey) for number, grey in stored.items()}))], LIMITS
    )
    assert volume.names == ("TCGA_X_1", "TCGA_X_2", "TCGA_X_9", "TCGA_X_10", "TCGA_X_100")
    np.testing.assert_array_equal(volume.pixels[..., 0], [stored[number] for number in sorted(stored)])
    assert volume.source == "zip"


def test_an_archive_is_inspected_without_decoding():
    headers = {f"{number}.png": png(noise(20, 24))[:60] for number in range(3)}
    assert inspect_upload([upload(zipped(headers))], LIMITS)[:4] == ("zip", 3, 20, 24)
    with pytest.raises(UnreadableImage):
        read_volume([upload(zipped(headers))], LIMITS)


def test_one_patients_folder_may_be_nested():
    assert read_volume([upload(zipped({"data/p/": b""} | slices(3, "data/p/")))], LIMITS).names == ("p_1", "p_2", "p_3")


def test_a_folder_zipped_on_windows_is_read():
    assert read_volume([upload(zipped(slices(2, "data\\p\\")))], LIMITS).names == ("p_1", "p_2")


def test_system_files_are_ignored():
    litter = ["__MACOSX/p/._p_1.png", "p/.DS_Store", "p/Thumbs.db", "p/desktop.ini", ".git/x"]
    assert inspect_upload([upload(zipped(slices(2, "p/") | dict.fromkeys(litter, b"?")))], LIMITS).slices == 2


def test_masks_next_to_their_images_are_left_out_with_a_warning():
    masks = {f"p/p_{number}_mask.png": png(noise(20, 24) > 200) for number in (1, 2)}
    volume = read_volume([upload(zipped(slices(3, "p/") | masks))], LIMITS)
    assert volume.names == ("p_1", "p_2", "p_3")
    assert "Masks of uploaded images were left out: 2." in volume.warnings


def test_a_mask_without_its_image_is_refused():
    assert "segmentation" in refused(UnusableImage, zipped({"p_1_mask.png": png()}))


def test_an_archive_of_one_tiff_of_several_pages_is_a_volume():
    volume = read_volume([upload(zipped({"scan.tif": tiff(noise(3, 20, 24))}))], LIMITS)
    assert volume.names == ("scan_001", "scan_002", "scan_003")


def test_a_large_member_is_spooled_to_disk():
    stored = noise(1, 3000, 3000, dtype="uint16")
    volume = read_volume([upload(zipped({"scan.tif": tiff(stored)}, zipfile.ZIP_STORED))], LIMITS)
    np.testing.assert_array_equal(volume.pixels[..., 0], stored)


@pytest.mark.parametrize("folders", [("a/", "b/"), ("all/a/", "all/b/"), ("", "b/"), ("a/", "a/b/")])
def test_an_archive_of_several_patients_is_refused_with_advice(folders):
    files = {name: data for folder in folders for name, data in slices(2, folder).items()}
    assert "submit each patient's folder separately" in refused(SeveralPatients, zipped(files))


def test_several_archives_are_several_patients():
    with pytest.raises(SeveralPatients):
        inspect_upload([upload(zipped(slices(2)), name) for name in ("a.zip", "b.zip")], LIMITS)


def test_an_archive_among_images_is_refused():
    with pytest.raises(BadArchive):
        inspect_upload([upload(zipped(slices(2))), upload(png())], LIMITS)


@pytest.mark.parametrize("prefixes", [("TCGA_CS_4941_19960909_", "TCGA_CS_4942_19970222_"), ("a/p_", "b/p_")])
@pytest.mark.parametrize("is_archive", [True, False])
def test_loose_slices_of_several_patients_are_refused_as_in_an_archive(prefixes, is_archive):
    files = {f"{prefix}{number}.png": png(noise(20, 24)) for prefix in prefixes for number in (1, 2, 3)}
    sent = {"x.zip": zipped(files)} if is_archive else files
    with pytest.raises(SeveralPatients):
        read_volume([Upload(name, io.BytesIO(content)) for name, content in sent.items()], Limits())


@pytest.mark.parametrize("name", ["mask.png", "T2_001.png", "adc.png", "seg_12.png", "b1000.png"])
def test_a_single_image_named_as_another_kind_is_refused_unless_a_field_names_it(name):
    with pytest.raises(UnusableImage, match="does not use"):
        read_volume([Upload(name, io.BytesIO(png(noise(20, 24))))], Limits())
    assert read_volume([Upload(name, io.BytesIO(png(noise(20, 24))), "flair")], Limits()).shape == (1, 20, 24)


@pytest.mark.parametrize("files", [{}, {"folder/": b""}, {".DS_Store": b"?"}], ids=["nothing", "a folder", "litter"])
def test_an_empty_archive_is_refused(files):
    assert "holds no file" in refused(BadArchive, zipped(files))


@pytest.mark.parametrize(
    "name", ["../p_1.png", "p/../../p_1.png", "/p_1.png", "..\\p_1.png", "C:\\p_1.png", "\\\\s\\p.png"]
)
def test_an_archive_with_paths_outside_itself_is_refused(name):
    assert "outside itself" in refused(BadArchive, zipped(slices(1) | {name: png()}))


def test_a_member_without_a_name_is_refused():
    data = zipped({"x": png()})
    assert "outside itself" in refused(BadArchive, data.replace(b"x", b"\x00"))


def test_an_encrypted_archive_is_refused():
    data = bytearray(zipped(slices(1)))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "password" in refused(BadArchive, bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unbounded_compression_methods_are_refused(method):
    assert "deflate" in refused(BadArchive, zipped(slices(1), method))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_archive_is_refused(kept):
    data = zipped(slices(5))
    refused(BadArchive, data[: int(len(data) * kept)])


def test_an_archive_with_a_damaged_member_is_refused():
    data = bytearray(zipped(slices(1), zipfile.ZIP_STORED))
    data[100] ^= 1
    assert "damaged" in refused(BadArchive, bytes(data))


def test_an_undecodable_name_is_a_damaged_archive():
    data = bytearray(zipped({"ä.png": png()}))
    data[data.rindex("ä".encode())] = 0xFF
    refused(BadArchive, bytes(data))


def test_an_archive_in_an_archive_is_not_opened():
    assert "within" in refused(BadArchive, zipped({"inner.zip": zipped(slices(1))}))


def test_an_empty_file_in_an_archive_is_refused():
    refused(EmptyUpload, zipped(slices(1) | {"p_2.png": b""}))


def test_text_in_an_archive_is_refused_under_any_name():
    refused(UnsupportedFormat, zipped(slices(1) | {"p_2.png": b"I am a picture."}))


def test_too_many_files_in_an_archive_are_refused():
    refused(TooManyFiles, zipped(slices(4)), Limits(members=3))


def test_too_many_entries_are_refused_before_they_are_parsed(monkeypatch):
    archive = zipped(dict.fromkeys(map(str, range(20_000)), b""))
    parsed, real = [], zipfile.ZipInfo
    monkeypatch.setattr(zipfile, "ZipInfo", lambda *given: parsed.append(given) or real(*given))
    refused(TooManyFiles, archive)
    assert not parsed


def test_an_archive_in_an_archive_may_have_more_entries_than_the_outer_one():
    inner = zipped(dict.fromkeys(map(str, range(2000)), b""))
    assert Archive(io.BytesIO(zipped({"inner.zip": inner, "1.png": png()})), Limits(members=500)).names


def test_an_oversized_directory_is_not_read():
    files = [(f"{'long' * 60}{number}.png", b"?") for number in range(800)]
    assert "far more files" in refused(TooManyFiles, zipped(files), Limits(members=3))


def test_an_archive_that_declares_too_much_is_a_bomb():
    refused(ArchiveBomb, zipped({"p.png": noise(300, 10000).tobytes()}), Limits(expanded_bytes=2 * MIB))


def test_a_large_archive_that_packs_too_well_is_a_bomb(gibibyte):
    assert "200 times its size" in refused(ArchiveBomb, gibibyte)


def test_well_compressed_label_maps_are_no_bomb():
    voxels = np.zeros((256, 256, 155), np.uint8)
    voxels[100:110, 100:110, 80] = 1
    packed = zipped({name: nifti(voxels, pack=False) for name in ("t1.nii", "flair.nii", "t1c.nii")})
    assert 3 * voxels.nbytes > 200 * len(packed)
    assert inspect_upload([upload(packed, "study.zip")], LIMITS)[:4] == ("nifti", 155, 256, 256)


def test_a_small_black_slice_is_no_bomb():
    grey = np.zeros((300, 400), np.uint8)
    grey[150, 200] = 1
    assert read_volume([upload(zipped({"p.tif": tiff(grey)}))], LIMITS).shape == (1, 300, 400)


def test_unpacked_bytes_are_counted_regardless_of_the_declared_size():
    limits = Limits()
    archive = Archive(io.BytesIO(zipped(slices(3))), limits)
    limits.expanded_bytes = len(slices(3)["p_1.png"]) + 10  # as if the directory had lied to zipfile, too
    with archive.open(0) as stream:
        assert stream.read(4) == b"\x89PNG"
    with archive.open(0) as stream:
        assert stream.read(4) == b"\x89PNG"
    with pytest.raises(ArchiveBomb), archive.open(1):
        pass


@pytest.fixture(scope="module")
def gibibyte():
    """A GiB of zeros compressed to a MiB, without holding it in memory."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("p_1.tif", "w") as member:
        member.write(b"II*\x00")
        for _ in range(1024):
            member.write(bytes(MIB))
    return target.getvalue()


def declaring(data, size):
    """The archive, with another size in its directory."""
    lying = bytearray(data)
    struct.pack_into("<I", lying, lying.rindex(b"PK\x01\x02") + 24, size)
    return bytes(lying)


@pytest.mark.parametrize(
    ("size", "error"),
    [(None, ArchiveBomb), (100, BadArchive), (100 * MIB, BadArchive)],
    ids=["honest", "tiny", "small"],
)
def test_a_bomb_is_refused_quickly_without_unpacking(gibibyte, size, error):
    data = gibibyte if size is None else declaring(gibibyte, size)
    began = time.process_time()
    tracemalloc.start()
    refused(error, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * MIB
    assert time.process_time() - began < 10


def grey(number):
    return png(noise(20, 24, seed=number))


@pytest.mark.parametrize("parent", ["", "patient/"])
@pytest.mark.parametrize("extra", [{}, {"T2/1.png": grey(8), "T2/2.png": grey(9), "seg/1.png": grey(7)}])
def test_folders_named_after_sequences_give_roles(parent, extra):
    folders = {"T1": "pre", "FLAIR": "flair", "T1CE": "post"}
    files = {
        f"{folder}/{index}.png": grey(10 * order + index) for order, folder in enumerate(folders) for index in (1, 2)
    }
    packed = zipped({f"{parent}{name}": data for name, data in {**files, **extra}.items()})
    volume = read_volume([upload(packed, "study.zip")], LIMITS)
    apart = [
        upload(data, name.partition("/")[2])._replace(role=folders[name.partition("/")[0]])
        for name, data in files.items()
    ]
    assert np.array_equal(volume.pixels, read_volume(apart, LIMITS).pixels)
    assert volume.names == ("1", "2")
    assert any("T2 images" in warning for warning in volume.warnings) == bool(extra)


def test_a_folder_of_masks_and_a_readme_are_left_out_by_name():
    images = {f"data/images/{index}.png": grey(index) for index in (1, 2)}
    others = {"data/masks/1.png": grey(5), "data/masks/2.png": grey(6), "README": b"about", "data/notes.txt": b"more"}
    volume = read_volume([upload(zipped({**images, **others}), "study.zip")], LIMITS)
    plain = read_volume([upload(zipped(images), "study.zip")], LIMITS)
    assert np.array_equal(volume.pixels, plain.pixels) and volume.names == plain.names
    assert "Masks of uploaded images were left out: 2." in volume.warnings
    assert "Files of the archive that are not images were left out: 2 (.txt, README)." in volume.warnings


def test_folders_of_two_patients_are_not_sequences():
    files = {"a/T1/1.png": grey(1), "b/FLAIR/1.png": grey(2)}
    assert "submit each patient's folder" in refused(SeveralPatients, zipped(files))
    assert "submit each patient's folder" in refused(
        SeveralPatients, zipped({"x/1.png": grey(1), "FLAIR/1.png": grey(2)})
    )
