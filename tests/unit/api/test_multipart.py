"""Any multipart body, in any chunks and with any damage, is parsed or refused."""

import io
import threading
import zipfile
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metseg.errors import BadInput
from metseg_api.multipart import MultipartForm

BOUNDARY = b"metseg-boundary"


def body(parts):
    """A body of (name, filename or None, content)."""
    sent = b""
    for name, filename, content in parts:
        said = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
        sent += b"--" + BOUNDARY + b"\r\nContent-Disposition: " + said.encode() + b"\r\n\r\n" + content + b"\r\n"
    return sent + b"--" + BOUNDARY + b"--\r\n"


def chunks(data, cuts):
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in pairwise(places)]


def parsed(data, cuts):
    with MultipartForm(BOUNDARY, max_files=4) as form:
        for chunk in chunks(data, cuts):
            form.write(chunk)
        form.finalize()
        read = []
        for part in form.parts:
            if part.filename is None:
                read.append((part.name, None, part.value))
            else:
                with form.open(part) as stream:
                    read.append((part.name, part.filename, stream.read()))
        return read


WORDS = st.text("abcdefgh ./^-_0123456789", max_size=20)
CONTENT = st.binary(max_size=600).filter(lambda content: BOUNDARY not in content)
PARTS = st.lists(st.tuples(WORDS, WORDS, CONTENT), max_size=4)
CUTS = st.lists(st.integers(0, 5000), max_size=12)


@settings(deadline=None)
@given(parts=PARTS, cuts=CUTS)
@example(parts=[("files", "a.png", b"\r\n--metseg-boundar\r\n--")], cuts=list(range(200)))
def test_files_are_received_unchanged_in_any_chunks(parts, cuts):
    if parts:
        assert parsed(body(parts), cuts) == parts


@settings(deadline=None)
@given(parts=PARTS, cuts=CUTS, start=st.integers(0, 3000), stop=st.integers(0, 40), instead=st.binary(max_size=40))
def test_a_damaged_body_is_parsed_or_refused_with_a_sentence(parts, cuts, start, stop, instead):
    whole = bytearray(body(parts))
    start %= len(whole) + 1
    whole[start : start + stop] = instead
    try:
        read = parsed(bytes(whole), cuts)
    except BadInput as refusal:
        detail = refusal.detail
    else:
        detail = ""
        assert all(isinstance(content, bytes) for _, _, content in read)
    assert detail == "" or detail.endswith(".")


@settings(deadline=None)
@given(data=st.binary(max_size=400), cuts=CUTS)
def test_a_body_that_is_not_a_form_is_refused(data, cuts):
    if BOUNDARY not in data:
        with pytest.raises(BadInput):
            parsed(data, cuts)


def test_a_part_is_a_readable_file():
    with MultipartForm(BOUNDARY, max_files=2) as form:
        form.write(body_of(b"0123456789", b"abcdef"))
        form.finalize()
        first, second = (form.open(part) for part in form.parts)
        assert first.seek(-4, io.SEEK_END) == 6
        assert (first.read(), second.read(3), first.tell(), second.seek(1, io.SEEK_CUR)) == (b"6789", b"abc", 10, 4)
        assert (first.seek(100), first.read(), second.read()) == (100, b"", b"ef")
        with pytest.raises(OSError, match="before the start"):
            first.seek(-1)
        assert zipfile.is_zipfile(first) is False


def test_parts_can_be_read_by_many_threads():
    contents = [bytes([value]) * 300_000 for value in range(4)]
    with MultipartForm(BOUNDARY, max_files=4) as form:
        form.write(body_of(*contents))
        form.finalize()
        read: dict[int, bytes] = {}
        threads = [
            threading.Thread(target=lambda index=index, part=part: read.update({index: form.open(part).read()}))
            for index, part in enumerate(form.parts)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [read[index] for index in range(4)] == contents


def body_of(*contents):
    """The body of a form with these files."""
    return body([("files", f"{index}.png", content) for index, content in enumerate(contents)])
