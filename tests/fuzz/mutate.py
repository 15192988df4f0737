"""Broken files, each made from a valid one and a seed, hence reproducible."""

import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress

EXTREMES = (0, 1, 2, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEADER_BYTES = 600
PNG_HEAD = b"\x89PNG\r\n\x1a\n"

Change = Callable[[bytearray, random.Random], None]


def mutant(files: Sequence[tuple[str, bytes]], seed: int) -> tuple[str, bytes]:
    """The broken file of a seed, and its origin."""
    dice = random.Random(seed)
    name, data = dice.choice(files)
    changed = bytearray(data)
    if dice.random() < 0.3 and (inner := _inside(name, data, dice)) is not None:
        return name, inner
    for _ in range(dice.randint(1, 4)):
        if dice.random() < 0.08:
            _splice(changed, dice.choice(files)[1], dice)
        else:
            dice.choice(CHANGES)(changed, dice)
    return name, _with_right_sums(bytes(changed)) if dice.random() < 0.5 else bytes(changed)


def _inside(name: str, data: bytes, dice: random.Random) -> bytes | None:
    """A valid container with broken content; None if it is not a container."""
    change = dice.choice(CHANGES)
    if data[:2] == b"\x1f\x8b":
        plain = bytearray(gzip.decompress(data))
        change(plain, dice)
        return gzip.compress(bytes(plain), mtime=0)
    if name.startswith("zip"):
        target = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as packed, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as broken:
            members = packed.infolist()
            victim = dice.randrange(len(members))
            for index, member in enumerate(members):
                content = bytearray(packed.read(member))
                if index == victim:
                    change(content, dice)
                with suppress(ValueError):  # names that Python's writer refuses
                    broken.writestr(member.filename, bytes(content))
        return target.getvalue()
    return None


def _place(data: bytearray, dice: random.Random) -> int:
    """A random position, in the header more often than its size implies."""
    if not data:
        return 0
    return dice.randrange(min(len(data), HEADER_BYTES) if dice.random() < 0.6 else len(data))


def _flip(data: bytearray, dice: random.Random) -> None:
    if data:
        data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _overwrite(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    data[start : start + dice.randint(1, 8)] = dice.randbytes(dice.randint(1, 8))


def _number(data: bytearray, dice: random.Random) -> None:
    """An extreme integer, for lengths, counts and offsets."""
    start = _place(data, dice) & ~1
    form = dice.choice("HIQ")
    value = dice.choice(EXTREMES) & (2 ** (8 * struct.calcsize(form)) - 1)
    data[start : start + struct.calcsize(form)] = struct.pack(dice.choice("<>") + form, value)


def _float(data: bytearray, dice: random.Random) -> None:
    """A non-finite or implausible float, for spacings and affines."""
    start = _place(data, dice) & ~3
    value = dice.choice((float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e38, 1e-38))
    data[start : start + 4] = struct.pack(dice.choice("<>") + "f", value)


def _remove(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    del data[start : start + dice.randint(1, 64)]


def _repeat(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    data[start:start] = data[start : start + dice.randint(1, 400)]


def _cut(data: bytearray, dice: random.Random) -> None:
    del data[_place(data, dice) :]


def _append(data: bytearray, dice: random.Random) -> None:
    data += dice.choice((dice.randbytes(300), bytes(3000), bytes(data[:200])))


CHANGES: tuple[Change, ...] = (_flip, _overwrite, _number, _number, _float, _remove, _repeat, _cut, _append)


def _splice(data: bytearray, other: bytes, dice: random.Random) -> None:
    """One file's beginning, another's end."""
    data[_place(data, dice) :] = other[dice.randrange(len(other)) :]


def _with_right_sums(data: bytes) -> bytes:
    """A PNG with corrected chunk checksums, so that deeper code reads the damage."""
    if not data.startswith(PNG_HEAD):
        return data
    sound, rest = PNG_HEAD, data[len(PNG_HEAD) :]
    while len(rest) >= 12:
        length = int.from_bytes(rest[:4], "big")
        body = rest[4 : 8 + length]
        if len(rest) < length + 12:
            break
        sound += rest[:4] + body + struct.pack(">I", zlib.crc32(body))
        rest = rest[length + 12 :]
    return sound + rest
