"""A multipart body, however it is cut into chunks and whatever is wrong with it, comes to its parts or to a refusal."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metseg.errors import BadInput
from metseg_api.multipart import Spool

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


def spooled(data, cuts):
    with Spool(BOUNDARY, max_files=4) as spool:
        for chunk in chunks(data, cuts):
            spool.feed(chunk)
        spool.finish()
        read = []
        for part in spool.parts:
            if part.filename is None:
                read.append((part.name, None, part.value))
            else:
                with spool.open(part) as stream:
                    read.append((part.name, part.filename, stream.read()))
        return read


WORDS = st.text("abcdefgh ./^-_0123456789", max_size=20)
CONTENT = st.binary(max_size=600).filter(lambda content: BOUNDARY not in content)
PARTS = st.lists(st.tuples(WORDS, WORDS, CONTENT), max_size=4)
CUTS = st.lists(st.integers(0, 5000), max_size=12)


@settings(deadline=None)
@given(parts=PARTS, cuts=CUTS)
@example(parts=[("files", "a.png", b"\r\n--metseg-boundar\r\n--")], cuts=list(range(200)))
def test_files_come_out_as_they_went_in_however_the_network_cut_them(parts, cuts):
    if parts:
        assert spooled(body(parts), cuts) == parts


@settings(deadline=None)
@given(parts=PARTS, cuts=CUTS, start=st.integers(0, 3000), stop=st.integers(0, 40), instead=st.binary(max_size=40))
def test_a_body_that_is_broken_anywhere_is_read_or_refused_in_words(parts, cuts, start, stop, instead):
    whole = bytearray(body(parts))
    start %= len(whole) + 1
    whole[start : start + stop] = instead
    try:
        read = spooled(bytes(whole), cuts)
    except BadInput as refusal:
        told = refusal.detail
    else:
        told = ""
        assert all(isinstance(content, bytes) for _, _, content in read)
    assert told == "" or told.endswith(".")


@settings(deadline=None)
@given(data=st.binary(max_size=400), cuts=CUTS)
def test_what_is_no_form_is_refused(data, cuts):
    if BOUNDARY not in data:
        with pytest.raises(BadInput):
            spooled(data, cuts)
