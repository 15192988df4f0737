"""A network cable with latency: two TAP devices, between which each frame travels for a constant time.

    python -m tests.bench.relay NEAR FAR

tc's netem would do the same, but not every kernel has it. Unlike a relay of TCP streams this one delays handshakes,
acknowledgements and all else that TCP sends. Frames may be as large as TCP segmentation offload makes them, so that few
system calls carry a study. Prints `ready` once the devices exist; they can then be moved to other namespaces. Each line
on stdin is a new latency in seconds, one way, 0 at first; when stdin ends, so does the cable.
"""

import os
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from fcntl import ioctl

__all__ = ["DelayLine", "main"]

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
TAP, NO_PACKET_INFO, OFFLOAD_HEADER = 0x0002, 0x1000, 0x4000
CHECKSUMS, TCP_OVER_IPV4 = 0x01, 0x02
LARGEST_FRAME = 2**16 + 64
READ_AT_ONCE = 64


class DelayLine:
    """The frames that travel in one direction; each arrives `delay_s` after it was sent, but after all earlier ones."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._frames: deque[tuple[float, bytes]] = deque()

    def send(self, frame: bytes, now: float) -> None:
        """Send a frame."""
        self._frames.append((now + self.delay_s, frame))

    def arrived(self, now: float) -> Iterator[bytes]:
        """The frames that have arrived, in the order in which they were sent; each is returned once."""
        while self._frames and self._frames[0][0] <= now:
            yield self._frames.popleft()[1]

    def next_at(self) -> float | None:
        """When the next frame arrives; None if none travels."""
        return self._frames[0][0] if self._frames else None


def relay(near: int, far: int, delays: int) -> None:
    """Carry frames between two TAP devices, with the delays that are read from a pipe, until it ends."""
    lines = {near: DelayLine(), far: DelayLine()}
    while True:
        due = [at for line in lines.values() if (at := line.next_at()) is not None]
        pause_s = max(0.0, min(due) - time.monotonic()) if due else None
        for ready in select.select([*lines, delays], [], [], pause_s)[0]:
            if ready != delays:
                for frame in _read(ready):
                    lines[ready].send(frame, time.monotonic())
            elif text := os.read(delays, 64):
                lines[near].delay_s = lines[far].delay_s = float(text.split()[-1])
            else:
                return
        for source, target in ((near, far), (far, near)):
            for frame in lines[source].arrived(time.monotonic()):
                _write(target, frame)


def _open(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP | NO_PACKET_INFO | OFFLOAD_HEADER))
    ioctl(device, TUNSETOFFLOAD, CHECKSUMS | TCP_OVER_IPV4)
    return device


def _read(device: int) -> Iterator[bytes]:
    """Some of the frames that wait."""
    for _ in range(READ_AT_ONCE):
        try:
            yield os.read(device, LARGEST_FRAME)
        except OSError:  # none waits, or the link is down
            return


def _write(device: int, frame: bytes) -> None:
    """Deliver a frame; it is lost if the link is down or congested, as on any cable."""
    try:
        os.write(device, frame)
    except OSError:
        return


def main() -> None:
    """Create the devices and relay."""
    near, far = map(_open, sys.argv[1:])
    print("ready", flush=True)
    relay(near, far, sys.stdin.fileno())


if __name__ == "__main__":
    main()
