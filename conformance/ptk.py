"""Token files, read and written by docs/file.md alone, with nothing but Python."""

from dataclasses import dataclass, field

MAGIC = bytes.fromhex("8950544B0D0A1A0A")
FRAMES, END, INDEX, WHOLE = 1, 2, 3, 4
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
    """What a file of whole frames holds, of either version. Blocks are pairs of a count of frames and a payload."""

    bundle: bytes
    sample_rate: int
    frame_samples: int
    depth: int
    name: str
    coding: int = PLAIN
    blocks: list = field(default_factory=list)
    samples: int = 0
    version: int = 2
    metadata: dict = field(default_factory=dict)
    created_ms: int = 0
    # Totals and points, as `index` gives them.
    index: tuple | None = None

    def frames(self, sizes, coder=None):
        """All frames, if the codebooks have these sizes; `coder` knows coding 1, as entropy.Coder does."""
        if self.coding == PLAIN:
            blocks = [unpack(payload, count, self.depth, sizes) for count, payload in self.blocks]
        elif self.coding == TRANSFORMER:
            blocks = [coder.decode(payload, count, self.depth) for count, payload in self.blocks]
        else:
            raise Damaged(f"coding {self.coding} is not known")
        return [frame for block in blocks for frame in block]

    @property
    def kind(self):
        """The kind of its blocks."""
        return FRAMES if self.version == 1 else WHOLE

    @classmethod
    def parse(cls, data):
        file, streams, reader = _header(data)
        if streams:
            raise Damaged("a file of streams")
        places, index_at = [], 0
        while True:
            start = reader.at
            kind, count, length = reader.number(1), reader.number(2), reader.number(4)
            payload = reader.take(length)
            reader.checksum(start)
            if kind == file.kind:
                if not 1 <= count <= 500:
                    raise Damaged(f"a block of {count} frames")
                file.blocks.append((count, payload))
                places.append(start)
            elif kind == INDEX and file.version == 2:
                file.index, index_at = index(payload), start
            elif kind == END:
                file._end(count, _Reader(payload), index_at)
                if reader.at != len(data):
                    raise Damaged("bytes follow the end mark")
                if file.index and file.index != file._points(places):
                    raise Damaged("the index is not that of the blocks")
                return file

    def _end(self, count, payload, index_at):
        total, length = payload.number(8), len(payload.data)
        if count != 0 or length < 16 or total != sum(count for count, _ in self.blocks):
            raise Damaged("the end mark counts other frames than there are")
        if self.version == 1:
            self.samples = payload.number(8)
        else:
            duration, place = payload.number(4), payload.number(8)
            if (duration, place) != (self._milliseconds(total), index_at):
                raise Damaged("the end mark says another duration or place than there is")
            padding = payload.number(4) if length >= 24 else 0
            self.samples = total * self.frame_samples - padding
        if not 0 <= self.samples <= total * self.frame_samples:
            raise Damaged("the end mark counts other samples than the frames hold")

    def _milliseconds(self, frames):
        return -(-1000 * frames * self.frame_samples // self.sample_rate)

    def _points(self, places):
        """The index that these blocks have, which begin there."""
        points, before = [], 0
        for place, (count, _) in zip(places, self.blocks):
            now = self._milliseconds(before)
            if now - (points[-1][1] if points else 0) >= 60_000:
                points.append((place, now, (before,)))
            before += count
        return {0: before}, points

    def header(self, later_fields=b"", version=None):
        """The header's bytes; `later_fields` stand for those of a later version."""
        fields = self.bundle + self.sample_rate.to_bytes(4, "big") + self.frame_samples.to_bytes(4, "big")
        name = self.name.encode()
        fields += bytes([self.depth, self.coding, len(name)]) + name + later_fields
        return with_checksum(MAGIC + bytes([version or self.version]) + len(fields).to_bytes(2, "big") + fields)

    def end(self, index_at=0):
        """The end mark's bytes."""
        total = sum(count for count, _ in self.blocks)
        if self.version == 1:
            return block(END, 0, total.to_bytes(8, "big") + self.samples.to_bytes(8, "big"))
        content = total.to_bytes(8, "big") + self._milliseconds(total).to_bytes(4, "big") + index_at.to_bytes(8, "big")
        return block(END, 0, content + max(0, total * self.frame_samples - self.samples).to_bytes(4, "big"))

    def to_bytes(self):
        """All of it, without metadata and index."""
        return self.header() + b"".join(block(self.kind, *parts) for parts in self.blocks) + self.end()


def index(payload):
    """Frames of each stream, and points (place, milliseconds, frames of each stream before it), of an index."""
    reader, totals = _Reader(payload), {}
    for _ in range(reader.number(1) + 1):
        stream = reader.number(1)
        totals[stream] = reader.long()
    points, place, time_ms, frames = [], 0, 0, [0] * len(totals)
    while reader.at < len(payload):
        place += reader.long()
        time_ms += reader.long()
        frames = [before + reader.long() for before in frames]
        points.append((place, time_ms, tuple(frames)))
    return totals, points


def _header(data):
    """What a header says: a file without blocks, its streams, and a reader behind it."""
    reader = _Reader(data)
    if reader.take(8) != MAGIC:
        raise Damaged("the magic differs")
    version = reader.number(1)
    if version not in (1, 2):
        raise Damaged(f"version {version}")
    end = reader.number(2) + reader.at
    fields, reader.at = reader.at, end
    reader.checksum(0)
    after, reader.at = reader.at, fields
    bundle, rate, samples = reader.take(32), reader.number(4), reader.number(4)
    depth, coding, length = reader.number(1), reader.number(1), reader.number(1)
    file, streams = TokenFile(bundle, rate, samples, depth, reader.take(length).decode(), coding, version=version), {}
    while version == 2 and reader.at < end:
        tag, field_ = reader.number(1), _Reader(reader.take(reader.number(2)))
        if tag == CREATED:
            file.created_ms = field_.number(8)
        elif tag == STREAM:
            number = field_.number(1)
            streams[number] = field_.rest().decode()
        elif tag == METADATA:
            key = field_.take(field_.number(1)).decode()
            file.metadata[key] = field_.rest().decode()
    if reader.at > end:
        raise Damaged("a field runs over the end of the header")
    reader.at = after
    return file, streams, reader


MARKS = ("real", "unsent", "coarse", "predicted", "faded", "silent", "held", "waiting", "gap")
CREATED, STREAM, METADATA = 1, 2, 3


@dataclass
class Run:
    """Frames in a row of which the same is to be said. `payload` is None without codes, `noise` None if none is told."""

    mark: str
    count: int
    depth: int = 0
    payload: bytes | None = None
    noise: bytes | None = None

    def to_bytes(self):
        codes, noise = self.payload is not None, self.noise is not None
        data = bytes([MARKS.index(self.mark) | codes << 7 | noise << 6]) + _short(self.count)
        if codes:
            data += bytes([self.depth]) + _short(len(self.payload)) + self.payload
        return data + (self.noise if noise else b"")


@dataclass
class StreamsFile:
    """What a file of version 2 holds. Blocks are triples of stream, milliseconds, and runs."""

    tokens: TokenFile
    created_ms: int = 0
    streams: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)
    blocks: list = field(default_factory=list)
    duration_ms: int = 0

    def frames(self, stream, sizes):
        """Pairs of mark and codes (None without) of all frames of the stream of this name, in coding 0."""
        frames = []
        for number, _, runs in self.blocks:
            if self.streams[number] != stream:
                continue
            for run in runs:
                codes = [None] * run.count
                if run.payload is not None:
                    codes = unpack(run.payload, run.count, run.depth, sizes)
                frames += [(run.mark, frame) for frame in codes]
        return frames

    @classmethod
    def parse(cls, data):
        tokens, streams, reader = _header(data)
        if tokens.version != 2:
            raise Damaged("not version 2")
        file = cls(tokens, tokens.created_ms, streams, tokens.metadata)
        depth, samples, rate = tokens.depth, tokens.frame_samples, tokens.sample_rate
        total = latest = 0
        while True:
            start = reader.at
            kind, count, length = reader.number(1), reader.number(2), reader.number(4)
            payload = _Reader(reader.take(length))
            reader.checksum(start)
            if kind == FRAMES:
                stream, time_ms, runs = payload.number(1), payload.number(4), []
                while payload.at < length:
                    runs.append(payload.run(depth))
                if not 1 <= count <= 500 or count != sum(run.count for run in runs):
                    raise Damaged("a block does not hold the frames that it says")
                total += count
                latest = max(latest, time_ms + -(-1000 * count * samples // rate))
                if stream in file.streams:
                    file.blocks.append((stream, time_ms, runs))
            elif kind == END:
                frames, file.duration_ms, _ = payload.number(8), payload.number(4), payload.number(8)
                if (frames, file.duration_ms) != (total, latest):
                    raise Damaged("the end mark counts other frames than there are")
                if reader.at != len(data):
                    raise Damaged("bytes follow the end mark")
                return file

    def header(self):
        """The header's bytes."""
        more = _field(CREATED, self.created_ms.to_bytes(8, "big"))
        for number, name in self.streams.items():
            more += _field(STREAM, bytes([number]) + name.encode())
        for key, value in self.metadata.items():
            more += _field(METADATA, bytes([len(key.encode())]) + key.encode() + value.encode())
        return self.tokens.header(more, version=2)

    def parts(self):
        """The bytes of each block."""
        for stream, time_ms, runs in self.blocks:
            payload = bytes([stream]) + time_ms.to_bytes(4, "big") + b"".join(run.to_bytes() for run in runs)
            yield block(FRAMES, sum(run.count for run in runs), payload)

    def end(self):
        """The end mark's bytes."""
        counts = [sum(run.count for run in runs) for _, _, runs in self.blocks]
        length, rate = self.tokens.frame_samples, self.tokens.sample_rate
        ends = [time_ms + -(-1000 * count * length // rate) for (_, time_ms, _), count in zip(self.blocks, counts)]
        totals = sum(counts).to_bytes(8, "big") + max(ends, default=0).to_bytes(4, "big")
        return block(END, 0, totals + bytes(8))

    def to_bytes(self):
        return self.header() + b"".join(self.parts()) + self.end()


def _short(number):
    """A number of a run: one byte below 128, else two."""
    return bytes([number]) if number < 0x80 else (number | 0x8000).to_bytes(2, "big")


def _field(tag, content):
    return bytes([tag]) + len(content).to_bytes(2, "big") + content


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

    def rest(self):
        return self.take(len(self.data) - self.at)

    def short(self):
        """A number of a run."""
        first = self.number(1)
        return first if first < 0x80 else (first & 0x7F) << 8 | self.number(1)

    def long(self):
        """A long number, of an index."""
        number = 0
        while True:
            byte = self.number(1)
            number = number << 7 | byte & 0x7F
            if byte < 0x80:
                return number

    def run(self, most):
        """A run whose frames have at most so many codes."""
        first, count, depth, payload, noise = self.number(1), self.short(), 0, None, None
        if count == 0:
            raise Damaged("a run of no frames")
        if first & 0x80:
            depth = self.number(1)
            payload = self.take(self.short())
            if not 1 <= depth <= most:
                raise Damaged(f"frames of {depth} codes where {most} is the most")
        if first & 0x40:
            noise = self.take(9)
            if noise[0] > 127 or 255 in noise[1:]:
                raise Damaged("a noise that is none")
        mark = first & 0x3F
        return Run(MARKS[mark] if mark < len(MARKS) else str(mark), count, depth, payload, noise)

    def checksum(self, start):
        expected = crc32c(self.data[start : self.at])
        if self.number(4) != expected:
            raise Damaged(f"the checksum of what begins at byte {start} differs")
