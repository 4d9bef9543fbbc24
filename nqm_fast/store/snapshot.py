"""A snapshot of an HDF5 file that another process may be writing, or was when it was killed.

The superblock of such a file has flags, with which HDF5 reads it only in SWMR mode (single writer,
multiple readers). A reader in this mode waits, practically for ever, for damaged metadata to become
right; another one reports what it cannot read. So HDF5 is shown the file without the flags. Read
from the root down, a file in SWMR mode is consistent at any moment but for parts that are half
written. Their checksums fail, and then the caller tries again.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SUPERBLOCK = struct.Struct("<8s4B4QI")  # version 3, HDF5 file format specification, II.A
CONSISTENCY_FLAGS = 4  # the number of this field of the superblock
END_OF_FILE = 7  # the number of this field, an address
CHECKSUM = -1  # the last field
GROWTH = 1 << 32  # bytes, more than are written while a file is read
LOW_WORD = 0xFFFFFFFF  # the lowest 32 bits


class Snapshot(io.FileIO):
    """A file for reading, without the flags that say that it is being written.

    Raises
    ------
    ValueError
        If the superblock is damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r")
        try:
            self._read_superblock()
        except BaseException:
            self.close()
            raise

    def _read_superblock(self) -> None:
        """Read the superblock, and take the marks of a writer off it."""
        self.pretended_end = 0  # the end that HDF5 is told, or 0 for the true one
        self.superblock = self.read(SUPERBLOCK.size)
        if len(self.superblock) < SUPERBLOCK.size:
            raise ValueError("it is cut short")
        fields = list(SUPERBLOCK.unpack(self.superblock))
        if fields[1] < 3:
            return  # This is not our version of the superblock, and HDF5 may find out what it is.
        if lookup3(self.superblock[:-4]) != fields[CHECKSUM]:
            raise ValueError("its first bytes do not match their checksum")
        if fields[CONSISTENCY_FLAGS]:
            fields[CONSISTENCY_FLAGS] = 0
            # The file may grow while it is read, and HDF5 refuses to read behind its end.
            fields[END_OF_FILE] = self.pretended_end = self.seek(0, io.SEEK_END) + GROWTH
            fields[CHECKSUM] = lookup3(SUPERBLOCK.pack(*fields)[:-4])
            self.superblock = SUPERBLOCK.pack(*fields)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position; offsets from the end of a live file count from the pretended end."""
        if self.pretended_end and whence == io.SEEK_END:
            return super().seek(self.pretended_end + offset)
        return super().seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the file as HDF5 shall see it, with zeros after its end."""
        content = memoryview(buffer).cast("B")
        begin = self.tell()
        count = super().readinto(content) or 0
        content[count:] = bytes(len(content) - count)
        changed = self.superblock[begin : begin + len(content)]
        content[: len(changed)] = changed
        return len(content)


def ends_with_hdf5(path: Path) -> bool:
    """Whether a file ends where HDF5's own data end, so that nothing was appended to them."""
    with path.open("rb") as file:
        superblock = file.read(SUPERBLOCK.size)
        size = file.seek(0, io.SEEK_END)
    return bool(size == SUPERBLOCK.unpack(superblock)[END_OF_FILE])


def lookup3(data: bytes) -> int:
    """The hash lookup3 by Bob Jenkins, the checksum of HDF5's metadata; `data` is not empty."""
    a = b = c = (0xDEADBEEF + len(data)) & LOW_WORD
    rounds = -(-len(data) // 12)
    words = struct.unpack(f"<{3 * rounds}I", data.ljust(12 * rounds, b"\0"))
    for k in range(0, len(words), 3):
        a, b, c = (
            (a + words[k]) & LOW_WORD,
            (b + words[k + 1]) & LOW_WORD,
            (c + words[k + 2]) & LOW_WORD,
        )
        if k + 3 < len(words):
            for shift in (4, 6, 8, 16, 19, 4):
                a = (a - c & LOW_WORD) ^ rotate_left(c, shift)
                c = c + b & LOW_WORD
                a, b, c = b, c, a
    for shift in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - rotate_left(b, shift) & LOW_WORD
        a, b, c = b, c, a
    return b


def rotate_left(word: int, bits: int) -> int:
    """Rotate a word of 32 bits to the left."""
    return (word << bits | word >> 32 - bits) & LOW_WORD
