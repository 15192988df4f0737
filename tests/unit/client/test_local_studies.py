"""Which studies a path contains, their names, and their files that are sent."""

import io
import zipfile

import numpy as np
import pytest
from tests.unit import pictures

from metseg.client.local_studies import Attachment, find_studies, open_study, study_digest
from metseg.errors import EmptyUpload, NotFound, UnreadableImage
from metseg.formats import Upload, read_volume
from metseg.settings import Limits


def filled(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def sent(path, **options):
    with open_study(path, **options) as files:
        return [(file.name, file.role) for file in files]


def named(paths):
    return [study.name for study in find_studies(paths)]


def test_a_study_is_named_after_its_file_or_folder(tmp_path):
    filled(tmp_path, "scan.nii.gz", "a.b.zip", "patient 7.1/x.png", "bare")
    names = ["scan.nii.gz", "a.b.zip", "patient 7.1", "bare"]
    assert named([tmp_path / name for name in names]) == ["scan", "a.b", "patient 7.1", "bare"]


def test_studies_with_equal_names_are_distinguished_by_folder(tmp_path):
    filled(tmp_path, "a/1/flair.nii.gz", "b/1/flair.nii.gz", "b/other.zip")
    paths = [tmp_path / "a/1/flair.nii.gz", tmp_path / "b/1/flair.nii.gz", tmp_path / "b/other.zip"]
    assert named(paths) == ["a-1-flair", "b-1-flair", "other"]


def test_a_study_given_twice_counts_once(tmp_path):
    filled(tmp_path, "a.png")
    assert named([tmp_path / "a.png", tmp_path / "a.png"]) == ["a"]


def test_a_missing_path_is_reported(tmp_path):
    with pytest.raises(NotFound, match="no file or folder"):
        find_studies([tmp_path / "nothing"])


def test_a_folder_is_sent_in_the_order_of_the_numbers_in_its_names(tmp_path):
    filled(tmp_path, "s_10.png", "s_2.png", "sub/s_1.png")
    assert sent(tmp_path) == [("s_2.png", None), ("s_10.png", None), ("s_1.png", None)]


def test_hidden_and_system_files_are_not_sent(tmp_path):
    filled(tmp_path, "a.png", ".b.png", "Thumbs.db", "__MACOSX/a.png", ".cache/c.png", "DICOMDIR", "READY")
    assert sent(tmp_path, ignored_name="READY") == [("a.png", None)]


@pytest.mark.parametrize(
    "names", [("pre.nii.gz", "FLAIR.nii", "post.nii.gz"), ("pre/1.png", "flair/1.png", "post/1.png")]
)
def test_files_and_folders_may_name_their_sequence(tmp_path, names):
    filled(tmp_path, *names)
    assert sorted(role for _, role in sent(tmp_path)) == ["flair", "post", "pre"]


def test_a_name_without_a_sequence_leaves_the_choice_to_the_server(tmp_path):
    filled(tmp_path, "pre.nii.gz", "t2f.nii.gz")
    assert {role for _, role in sent(tmp_path)} == {None}


def test_many_files_become_one_reproducible_archive(tmp_path):
    folder = filled(tmp_path / "study", *(f"{number}.png" for number in range(Limits().files + 1)))
    contents = []
    for _ in range(2):
        with open_study(folder) as [attachment]:
            assert attachment.name == "study.zip"
            contents.append(attachment.content.read_bytes())
    assert contents[0] == contents[1]
    with zipfile.ZipFile(io.BytesIO(contents[0])) as archive:
        assert archive.namelist() == [f"{number}.png" for number in range(Limits().files + 1)]
        assert archive.read("7.png") == b"7.png"
    assert not attachment.content.exists()


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(EmptyUpload), open_study(tmp_path):
        pass


def test_a_file_that_vanishes_while_read_is_reported(tmp_path):
    path = filled(tmp_path, "a.png") / "a.png"

    def vanish():
        with open_study(path) as files:
            path.unlink()
            study_digest(files)

    with pytest.raises(UnreadableImage, match="has been deleted"):
        vanish()


def test_the_digest_depends_on_names_roles_and_bytes(tmp_path):
    path = filled(tmp_path, "a.png") / "a.png"
    one = Attachment("a.png", path)
    assert (
        study_digest([one])
        == study_digest([Attachment("a.png", b"a.png")])
        == study_digest([Attachment("a.png", io.BytesIO(b"a.png"))])
    )
    others = [Attachment("b.png", path), Attachment("a.png", path, "flair"), Attachment("a.png", b"other")]
    assert len({study_digest([each]) for each in (one, *others)} | {study_digest([one, one])}) == 5


def test_a_stream_is_left_open_and_rewound():
    stream = io.BytesIO(b"abc")
    stream.seek(2)
    study_digest([Attachment("a", stream)])
    assert stream.read() == b"abc"


@pytest.mark.parametrize(
    ("named", "complete"),
    [("scan.raw", True), ("scan.zraw", True), ("LOCAL", False), ("../scan.raw", False), ("secrets.txt", False)],
)
def test_the_header_of_a_metaimage_is_sent_with_its_voxels_and_with_nothing_else(tmp_path, named, complete):
    filled(tmp_path, "scan.raw", "scan.zraw", "secrets.txt", "LOCAL")
    (tmp_path / "scan.mhd").write_text(f"NDims = 3\nElementDataFile = {named}\n")
    assert sent(tmp_path / "scan.mhd") == [("scan.mhd", None), *([(named, None)] if complete else [])]
    (tmp_path / "damaged.mhd").write_bytes(b"\xff")
    assert sent(tmp_path / "damaged.mhd") == [("damaged.mhd", None)]


def test_sequences_of_many_slices_are_packed_each_on_its_own(tmp_path):
    slices = 80
    for role in ("pre", "flair", "post"):
        for index in range(slices):
            path = tmp_path / role / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(pictures.png(pictures.noise(20, 24, seed=index)))
    with open_study(tmp_path) as files:
        assert sorted((file.name, file.role) for file in files) == [
            ("flair.zip", "flair"),
            ("post.zip", "post"),
            ("pre.zip", "pre"),
        ]
        uploads = [Upload(file.name, io.BytesIO(file.content.read_bytes()), file.role) for file in files]
    volume = read_volume(uploads, Limits())
    assert volume.shape == (slices, 20, 24)
    assert np.array_equal(volume.pixels[7, ..., 2], pictures.noise(20, 24, seed=7))
