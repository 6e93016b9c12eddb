"""Token files, read and written by docs/file.md alone, with nothing but Python."""

from dataclasses import dataclass, field

MAGIC = bytes.fromhex("8950544B")
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
    """What a file of whole frames holds. Blocks are pairs of a count of frames and their codes. `bundle` is its id, or half of it."""

    bundle: bytes
    sample_rate: int
    frame_samples: int
    depth: int
    name: str
    coding: int = PLAIN
    blocks: list = field(default_factory=list)
    samples: int = 0
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

    @classmethod
    def parse(cls, data):
        file, streams, reader = _header(data)
        if streams:
            raise Damaged("a file of streams")
        places, index_bytes = [], 0
        while True:
            start = reader.at
            kind, payload = reader.block()
            if kind == WHOLE:
                count = payload.number()
                if not 1 <= count <= 500:
                    raise Damaged(f"a block of {count} frames")
                file.blocks.append((count, payload.rest()))
                places.append(start)
            elif kind == INDEX:
                file.index, index_bytes = index(payload.data), reader.at - start
            elif kind == END:
                file._end(payload, index_bytes)
                if reader.at != len(data):
                    raise Damaged("bytes follow the end mark")
                if file.index and file.index != file._points(places):
                    raise Damaged("the index is not that of the blocks")
                return file

    def _end(self, payload, index_bytes):
        total = payload.number()
        if total != sum(count for count, _ in self.blocks):
            raise Damaged("the end mark counts other frames than there are")
        if (payload.number(), payload.number()) != (self._milliseconds(total), index_bytes):
            raise Damaged("the end mark says another duration or index than there is")
        padding = payload.number() if payload.left() else 0
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

    def header(self, more=b"", version=1):
        """The header's bytes; `more` are tagged fields."""
        fields = self.bundle[:16] + number(self.sample_rate) + number(self.frame_samples)
        name = self.name.encode()
        fields += bytes([self.depth, self.coding, len(name)]) + name + more
        return with_checksum(MAGIC + bytes([version]) + number(len(fields)) + fields)

    def end(self):
        """The end mark's bytes, without an index."""
        total = sum(count for count, _ in self.blocks)
        padding = max(0, total * self.frame_samples - self.samples)
        return block(END, b"".join(map(number, (total, self._milliseconds(total), 0, padding))))

    def to_bytes(self):
        """All of it, without metadata and index."""
        return self.header() + b"".join(whole(*parts) for parts in self.blocks) + self.end()


def index(payload):
    """Frames of each stream, and points (place, milliseconds, frames of each stream before it), of an index."""
    reader, totals = _Reader(payload), {}
    for _ in range(reader.byte() + 1):
        stream = reader.byte()
        totals[stream] = reader.number()
    points, place, time_ms, frames = [], 0, 0, [0] * len(totals)
    while reader.left():
        place += reader.number()
        time_ms += reader.number()
        frames = [before + reader.number() for before in frames]
        points.append((place, time_ms, tuple(frames)))
    return totals, points


def _header(data):
    """What a header says: a file without blocks, its streams, and a reader behind it."""
    reader = _Reader(data)
    if reader.take(4) != MAGIC:
        raise Damaged("the magic differs")
    version = reader.byte()
    if version != 1:
        raise Damaged(f"version {version}")
    fields = _Reader(reader.take(reader.number()))
    reader.checksum(0)
    bundle, rate, samples = fields.take(16), fields.number(), fields.number()
    depth, coding, length = fields.byte(), fields.byte(), fields.byte()
    file, streams = TokenFile(bundle, rate, samples, depth, fields.take(length).decode(), coding), {}
    while fields.left():
        tag, content = fields.byte(), _Reader(fields.take(fields.number()))
        if tag == CREATED:
            file.created_ms = content.number()
        elif tag == STREAM:
            stream = content.byte()
            streams[stream] = content.rest().decode()
        elif tag == METADATA:
            key = content.take(content.number()).decode()
            file.metadata[key] = content.rest().decode()
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
        data = bytes([MARKS.index(self.mark) | codes << 7 | noise << 6]) + number(self.count)
        if codes:
            data += bytes([self.depth]) + number(len(self.payload)) + self.payload
        return data + (self.noise if noise else b"")


@dataclass
class StreamsFile:
    """What a file of streams holds. Blocks are triples of stream, milliseconds, and runs."""

    tokens: TokenFile
    created_ms: int = 0
    streams: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)
    blocks: list = field(default_factory=list)
    duration_ms: int = 0

    def frames(self, stream, sizes):
        """Pairs of mark and codes (None without) of all frames of the stream of this name, in coding 0."""
        frames = []
        for which, _, runs in self.blocks:
            if self.streams[which] != stream:
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
        file = cls(tokens, tokens.created_ms, streams, tokens.metadata)
        depth, samples, rate = tokens.depth, tokens.frame_samples, tokens.sample_rate
        total = latest = 0
        while True:
            kind, payload = reader.block()
            if kind == FRAMES:
                stream, time_ms, runs = payload.byte(), payload.number(), []
                while payload.left():
                    runs.append(payload.run(depth))
                count = sum(run.count for run in runs)
                if not 1 <= count <= 500:
                    raise Damaged(f"a block of {count} frames")
                total += count
                latest = max(latest, time_ms + -(-1000 * count * samples // rate))
                if stream in file.streams:
                    file.blocks.append((stream, time_ms, runs))
            elif kind == END:
                frames, file.duration_ms = payload.number(), payload.number()
                if (frames, file.duration_ms) != (total, latest):
                    raise Damaged("the end mark counts other frames than there are")
                if reader.at != len(data):
                    raise Damaged("bytes follow the end mark")
                return file

    def header(self):
        """The header's bytes."""
        more = _field(CREATED, number(self.created_ms))
        for stream, name in self.streams.items():
            more += _field(STREAM, bytes([stream]) + name.encode())
        for key, value in self.metadata.items():
            more += _field(METADATA, number(len(key.encode())) + key.encode() + value.encode())
        return self.tokens.header(more)

    def parts(self):
        """The bytes of each block."""
        for stream, time_ms, runs in self.blocks:
            yield block(FRAMES, bytes([stream]) + number(time_ms) + b"".join(run.to_bytes() for run in runs))

    def end(self):
        """The end mark's bytes."""
        counts = [sum(run.count for run in runs) for _, _, runs in self.blocks]
        length, rate = self.tokens.frame_samples, self.tokens.sample_rate
        ends = [time_ms + -(-1000 * count * length // rate) for (_, time_ms, _), count in zip(self.blocks, counts)]
        return block(END, b"".join(map(number, (sum(counts), max(ends, default=0), 0))))

    def to_bytes(self):
        return self.header() + b"".join(self.parts()) + self.end()


def number(value):
    """The bytes of a number."""
    data = bytes([value & 0x7F])
    while value := value >> 7:
        data = bytes([0x80 | value & 0x7F]) + data
    return data


def _field(tag, content):
    return bytes([tag]) + number(len(content)) + content


def block(kind, payload):
    """The bytes of a block."""
    return with_checksum(bytes([kind]) + number(len(payload)) + payload)


def whole(count, codes):
    """The bytes of a block of whole frames."""
    return block(WHOLE, number(count) + codes)


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

    def byte(self):
        return self.take(1)[0]

    def left(self):
        return len(self.data) - self.at

    def block(self):
        """The kind and the payload of the block that begins here."""
        start = self.at
        kind, payload = self.byte(), _Reader(self.take(self.number()))
        self.checksum(start)
        return kind, payload

    def rest(self):
        return self.take(len(self.data) - self.at)

    def number(self):
        start, value = self.at, 0
        while True:
            byte = self.byte()
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                break
        if self.data[start] == 0x80 or value >> 64:
            raise Damaged("a number that no writer makes")
        return value

    def run(self, most):
        """A run whose frames have at most so many codes."""
        first, count, depth, payload, noise = self.byte(), self.number(), 0, None, None
        if count == 0:
            raise Damaged("a run of no frames")
        if first & 0x80:
            depth = self.byte()
            payload = self.take(self.number())
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
        if int.from_bytes(self.take(4), "big") != expected:
            raise Damaged(f"the checksum of what begins at byte {start} differs")
