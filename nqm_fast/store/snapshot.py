"""A file as HDF5 should see it to read it, also one that is being written or was left so.

HDF5 opens a file whose superblock has the marks of a writer only in a mode (SWMR) that waits,
practically for ever, for damaged metadata to become right. So the marks are taken away on the
way; a reader of the other kind reports what it cannot read. Read from the root down, a file in
SWMR mode is consistent at any moment but for blocks on their way, whose checksums fail: then the
caller tries again.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SUPERBLOCK = struct.Struct("<8s4B4QI")  # version 3, HDF5 file format specification, II.A
MARKS = 4  # field of the marks of a writer
END = 7  # field of the end of the file
GROWTH = 1 << 32  # bytes, more than are written while a file is read
LOW = 0xFFFFFFFF


class Snapshot(io.FileIO):
    """A file for reading, without the marks of a writer.

    Raises
    ------
    ValueError
        If the superblock is damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r")
        self.end = 0  # where HDF5 is told that it ends, if another process writes it
        self.start = self.read(SUPERBLOCK.size)
        if len(self.start) < SUPERBLOCK.size:
            raise ValueError("it is cut short")
        fields = list(SUPERBLOCK.unpack(self.start))
        if fields[1] < 3:
            return  # of an older version, and so not ours: HDF5 may see what it is
        if lookup3(self.start[:-4]) != fields[-1]:
            raise ValueError("its first bytes do not match their checksum")
        if fields[MARKS]:
            fields[MARKS] = 0
            fields[END] = self.end = self.seek(0, io.SEEK_END) + GROWTH
            fields[-1] = lookup3(SUPERBLOCK.pack(*fields)[:-4])
            self.start = SUPERBLOCK.pack(*fields)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; the end of a file that is being written is far away."""
        if self.end and whence == io.SEEK_END:
            return super().seek(self.end + offset)
        return super().seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        """Read all that was asked for; where there is nothing, zeros."""
        wanted = memoryview(buffer).cast("B")
        begin = self.tell()
        count = super().readinto(wanted) or 0
        wanted[count:] = bytes(len(wanted) - count)
        known = self.start[begin : begin + len(wanted)]
        wanted[: len(known)] = known
        return len(wanted)


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hash of that name, the checksum of HDF5's metadata; `data` is not empty."""
    a = b = c = (0xDEADBEEF + len(data)) & LOW
    rounds = -(-len(data) // 12)
    words = struct.unpack(f"<{3 * rounds}I", data.ljust(12 * rounds, b"\0"))
    for k in range(0, len(words), 3):
        a, b, c = (a + words[k]) & LOW, (b + words[k + 1]) & LOW, (c + words[k + 2]) & LOW
        if k + 3 < len(words):
            for shift in (4, 6, 8, 16, 19, 4):
                a = (a - c & LOW) ^ rotated(c, shift)
                c = c + b & LOW
                a, b, c = b, c, a
    for shift in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - rotated(b, shift) & LOW
        a, b, c = b, c, a
    return b


def rotated(x: int, by: int) -> int:
    """A word rotated to the left."""
    return (x << by | x >> 32 - by) & LOW
