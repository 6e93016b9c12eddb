"""Token files, read and written by docs/file.md alone, with nothing but Python."""

from dataclasses import dataclass, field

MAGIC = bytes.fromhex("8950544B0D0A1A0A")
FRAMES, END = 1, 2
PLAIN, TRANSFORMER = 0, 1


class Damaged(Exception):
    """The bytes are not as docs/file.md says."""


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(data):
    """Castagnoli's checksum, as in RFC 3720, section 12.1."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def pack(frames, sizes):
    """Frames of codes to the payload of coding 0. `sizes` are the entries of each codebook."""
    bits = "".join(format(code, f"0{_width(size)}b") for frame in frames for code, size in zip(frame, sizes))
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def unpack(payload, count, depth, sizes):
    """The payload of coding 0 to `count` frames of `depth` codes."""
    widths = [_width(size) for size in sizes[:depth]]
    bits = "".join(format(byte, "08b") for byte in payload)
    used = count * sum(widths)
    if len(payload) != (used + 7) // 8 or "1" in bits[used:]:
        raise Damaged(f"{count} frames of {depth} codes do not fill {len(payload)} bytes as they should")
    frames, at = [], 0
    for _ in range(count):
        frame = []
        for width, size in zip(widths, sizes):
            frame.append(int(bits[at : at + width], 2))
            at += width
            if frame[-1] >= size:
                raise Damaged(f"code {frame[-1]} is beyond a codebook of {size} entries")
        frames.append(frame)
    return frames


def _width(size):
    return (size - 1).bit_length()


@dataclass
class TokenFile:
    """What a file holds. Blocks are pairs of a count of frames and a payload."""

    bundle: bytes
    sample_rate: int
    frame_samples: int
    depth: int
    name: str
    coding: int = PLAIN
    blocks: list = field(default_factory=list)
    samples: int = 0

    def frames(self, sizes, coder=None):
        """All frames, if the codebooks have these sizes; `coder` knows coding 1, as entropy.Coder does."""
        if self.coding == PLAIN:
            blocks = [unpack(payload, count, self.depth, sizes) for count, payload in self.blocks]
        elif self.coding == TRANSFORMER:
            blocks = [coder.decode(payload, count, self.depth) for count, payload in self.blocks]
        else:
            raise Damaged(f"coding {self.coding} is not known")
        return [frame for block in blocks for frame in block]

    @classmethod
    def parse(cls, data):
        reader = _Reader(data)
        if reader.take(8) != MAGIC:
            raise Damaged("the magic differs")
        if reader.number(1) != 1:
            raise Damaged("not version 1")
        end = reader.number(2) + reader.at
        bundle, rate, samples = reader.take(32), reader.number(4), reader.number(4)
        depth, coding, length = reader.number(1), reader.number(1), reader.number(1)
        file = cls(bundle, rate, samples, depth, reader.take(length).decode(), coding)
        if reader.at > end:
            raise Damaged("the name runs over the end of the header")
        reader.at = end
        reader.checksum(0)
        while True:
            start = reader.at
            kind, count, length = reader.number(1), reader.number(2), reader.number(4)
            payload = reader.take(length)
            reader.checksum(start)
            if kind == FRAMES:
                if not 1 <= count <= 500:
                    raise Damaged(f"a block of {count} frames")
                file.blocks.append((count, payload))
            elif kind == END:
                if (count, length) != (0, 16):
                    raise Damaged("the end mark has the wrong count or length")
                total, file.samples = int.from_bytes(payload[:8], "big"), int.from_bytes(payload[8:], "big")
                if total != sum(count for count, _ in file.blocks):
                    raise Damaged("the end mark counts other frames than there are")
                if reader.at != len(data):
                    raise Damaged("bytes follow the end mark")
                return file

    def header(self, later_fields=b""):
        """The header's bytes; `later_fields` stand for those of a later version."""
        fields = self.bundle + self.sample_rate.to_bytes(4, "big") + self.frame_samples.to_bytes(4, "big")
        name = self.name.encode()
        fields += bytes([self.depth, self.coding, len(name)]) + name + later_fields
        return with_checksum(MAGIC + b"\x01" + len(fields).to_bytes(2, "big") + fields)

    def end(self):
        """The end mark's bytes."""
        total = sum(count for count, _ in self.blocks)
        return block(END, 0, total.to_bytes(8, "big") + self.samples.to_bytes(8, "big"))

    def to_bytes(self):
        return self.header() + b"".join(block(FRAMES, *parts) for parts in self.blocks) + self.end()


def block(kind, count, payload):
    """The bytes of a block."""
    return with_checksum(bytes([kind]) + count.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload)


def with_checksum(data):
    return data + crc32c(data).to_bytes(4, "big")


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise Damaged(f"it breaks off at byte {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count):
        return int.from_bytes(self.take(count), "big")

    def checksum(self, start):
        expected = crc32c(self.data[start : self.at])
        if self.number(4) != expected:
            raise Damaged(f"the checksum of what begins at byte {start} differs")
