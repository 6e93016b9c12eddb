"""Token files against docs/file.md."""

import re

import numpy as np
import pytest
import soundfile

import ptk
from conftest import ROOT
from ptk import Damaged, Run, StreamsFile, TokenFile


def test_the_checksum_is_castagnolis():
    # RFC 3720, appendix B.4, and the check value of the catalogues.
    assert ptk.crc32c(b"123456789") == 0xE3069283
    assert ptk.crc32c(bytes(32)) == 0x8A9136AA
    assert ptk.crc32c(bytes(range(32))) == 0x46DD794E


def test_numbers_have_one_form():
    for value, data in ((0, "00"), (127, "7F"), (128, "8100"), (16_383, "FF7F"), (16_384, "818000")):
        assert ptk.number(value) == bytes.fromhex(data)


def vector(word):
    page = (ROOT / "docs/file.md").read_text()
    return [bytes.fromhex(line) for line in re.search(rf"```{word}\n(.*?)```", page, re.S)[1].splitlines()]


def test_the_vectors_of_whole_frames_and_of_an_index():
    lines = vector("whole")
    file = TokenFile.parse(b"".join(lines))
    assert (file.bundle, file.name) == (bytes(range(16)), "test")
    assert (file.sample_rate, file.frame_samples, file.depth, file.coding) == (24000, 480, 2, 0)
    assert (file.blocks, file.samples, file.index) == ([(2, bytes.fromhex("123456789A"))], 900, None)
    # 0x123456789A, ten bits at a time.
    assert file.frames([1024, 1024]) == [[72, 837], [414, 154]]
    assert [file.header(), ptk.whole(*file.blocks[0]), file.end()] == lines
    block = vector("index")[0]
    assert block[0] == ptk.INDEX and block == ptk.block(ptk.INDEX, block[2:-4])
    points = [(5000, 60_000, (3000, 0)), (9000, 130_000, (3500, 250))]
    assert ptk.index(block[2:-4]) == ({0: 4000, 1: 250}, points)


def test_a_long_file_has_an_index(parlo, bundle, plain, tmp_path):
    names = []
    for n in range(24):
        names.append(tmp_path / f"{n}.ptk")
        names[-1].write_bytes(plain[0].read_bytes())
    parlo.run("cat", *names, "--output", tmp_path / "long.ptk")
    file = TokenFile.parse((tmp_path / "long.ptk").read_bytes())
    # Parsing compares it with the blocks.
    totals, points = file.index
    assert totals == {0: 24 * sum(count for count, _ in plain[1].blocks)} and len(points) >= 2
    assert file.frames(bundle.sizes) == 24 * plain[1].frames(bundle.sizes)
    stretch = "--from", "61.5", "--to", "62"
    parlo.run("cut", "--bundle", bundle.folder, *stretch, tmp_path / "long.ptk", tmp_path / "cut.ptk")
    cut = TokenFile.parse((tmp_path / "cut.ptk").read_bytes())
    length = bundle.frame_samples / bundle.sample_rate
    first, last = int(np.ceil(61.5 / length - 1e-9)), int(np.ceil(62 / length - 1e-9))
    assert cut.frames(bundle.sizes) == file.frames(bundle.sizes)[first : last + bundle.delay_frames]
    assert cut.samples == (last - first) * bundle.frame_samples
    parlo.run("export", "--bundle", bundle.folder, tmp_path / "cut.ptk", tmp_path / "cut.npz")
    archive = np.load(tmp_path / "cut.npz")
    assert archive["audio.codes"].dtype == np.int16
    assert archive["audio.codes"].T.tolist() == cut.frames(bundle.sizes)
    assert np.allclose(archive["audio.times"], np.arange(len(cut.frames(bundle.sizes))) * length)
    assert set(archive["audio.marks"]) == {0}


def test_the_vector_of_streams():
    lines = vector("streams")
    file = StreamsFile.parse(b"".join(lines))
    assert (file.tokens.bundle, file.tokens.name, file.tokens.depth) == (bytes(range(16)), "test", 2)
    assert (file.created_ms, file.duration_ms) == (1_800_000_000_000, 95 + 204 * 20)
    assert (file.streams, file.metadata) == ({0: "said", 1: "heard"}, {"peer": "ann"})
    assert [block[:2] for block in file.blocks] == [(0, 40), (1, 95)]
    assert file.frames("said", [1024, 1024]) == [("real", [72, 837]), ("real", [414, 154])]
    heard = [("waiting", None)] * 3 + [("coarse", [72])] + [("silent", None)] * 200
    assert file.frames("heard", [1024, 1024]) == heard
    assert file.blocks[1][2][2].noise == bytes([60] + [127] * 8)
    assert [file.header(), *file.parts(), file.end()] == lines
    for at in range(len(b"".join(lines))):
        damaged = bytearray(b"".join(lines))
        damaged[at] ^= 0x10
        with pytest.raises(Damaged):
            StreamsFile.parse(bytes(damaged))


def is_same(one, other):
    """But for rounding: how many frames share a run of the decoder moves the last bit of its floats."""
    return np.abs(one.astype(int) - other.astype(int)).max(initial=0) <= 1


def test_a_recording_sounds_as_its_tokens_do(parlo, bundle, plain, tmp_path):
    path, file = plain
    runs = [[Run("real", count, file.depth, payload)] for count, payload in file.blocks]
    starts = np.cumsum([0] + [count for count, _ in file.blocks])
    milliseconds = [int(start) * 1000 * file.frame_samples // file.sample_rate for start in starts]
    blocks = [(7, time_ms, run) for time_ms, run in zip(milliseconds, runs)]
    recording = StreamsFile(file, 0, {7: "said"}, {}, blocks)
    (tmp_path / "call.ptk").write_bytes(recording.to_bytes())
    for source, name in ((path, "alone.wav"), (tmp_path / "call.ptk", "call.wav")):
        parlo.run("decode", "--bundle", bundle.folder, source, tmp_path / name)
    alone, _ = soundfile.read(tmp_path / "alone.wav", dtype="int16")
    call, _ = soundfile.read(tmp_path / "call.wav", dtype="int16")
    assert len(call) >= len(alone) and is_same(call[: len(alone)], alone)
    (tmp_path / "cut.ptk").write_bytes(recording.to_bytes()[: -len(recording.end()) - 5])
    arguments = "--bundle", bundle.folder, tmp_path / "cut.ptk", tmp_path / "cut.wav"
    assert "it breaks off" in parlo.refuses("decode", *arguments)
    parlo.run("decode", "--keep-going", *arguments)
    cut, _ = soundfile.read(tmp_path / "cut.wav", dtype="int16")
    # The last block is missing, which in a short file may be all there is.
    assert len(cut) < len(call) and is_same(cut, call[: len(cut)])


def test_packing_is_undone_for_any_sizes():
    random = np.random.default_rng(2)
    for _ in range(50):
        sizes = random.integers(2, 5000, random.integers(1, 12)).tolist()
        frames = [[int(random.integers(0, size)) for size in sizes] for _ in range(random.integers(1, 9))]
        payload = ptk.pack(frames, sizes)
        assert ptk.unpack(payload, len(frames), len(sizes), sizes) == frames
        with pytest.raises(Damaged):
            ptk.unpack(payload + b"\0", len(frames), len(sizes), sizes)


@pytest.mark.parametrize("coding", [ptk.PLAIN, ptk.TRANSFORMER])
def test_what_encode_writes(request, bundle, clip, coding):
    if coding == ptk.TRANSFORMER:
        request.getfixturevalue("coder")
    path, file = request.getfixturevalue("tokens" if coding == ptk.TRANSFORMER else "plain")
    assert file.bundle == bundle.tokens[:16]
    assert file.name == bundle.manifest["name"]
    assert (file.sample_rate, file.frame_samples) == (bundle.sample_rate, bundle.frame_samples)
    assert (file.depth, file.coding, file.samples) == (6, coding, len(clip[1]))
    frames = -(-len(clip[1]) // bundle.frame_samples) + bundle.delay_frames
    assert [count for count, _ in file.blocks] == [500] * (frames // 500) + [frames % 500] * (frames % 500 > 0)
    payloads = sum(len(payload) for _, payload in file.blocks)
    bits = sum((size - 1).bit_length() for size in bundle.sizes[:6])
    as_they_are = sum((count * bits + 7) // 8 for count, _ in file.blocks)
    assert payloads == as_they_are if coding == ptk.PLAIN else payloads < 0.85 * as_they_are
    # As "Cost" says: 33 bytes and the name, up to 9 a block, up to 14 at the end.
    assert path.stat().st_size <= 33 + len(file.name) + 9 * len(file.blocks) + payloads + 14


def test_what_encode_writes_into_a_pipe(parlo, bundle, clip, tokens):
    piped = parlo.run("encode", "--bundle", bundle.folder, "--beam", 1, "-", "-", input=clip[0].read_bytes())
    piped = TokenFile.parse(piped)
    counts = [count for count, _ in piped.blocks]
    frames = round(0.240 * bundle.sample_rate / bundle.frame_samples)
    assert counts[:-1] == [frames] * (len(counts) - 1) and 1 <= counts[-1] <= frames
    assert bundle.frames(piped) == bundle.frames(tokens[1])
    assert piped.samples == tokens[1].samples


def test_fields_and_kinds_of_later_versions_are_passed_over(parlo, bundle, tokens, tmp_path):
    path, file = tokens
    blocks = b"".join(ptk.block(77, b"of later days") + ptk.whole(*parts) for parts in file.blocks)
    (tmp_path / "later.ptk").write_bytes(file.header(b"\x63\5later") + blocks + file.end())
    for source, name in ((path, "plain.wav"), (tmp_path / "later.ptk", "later.wav")):
        parlo.run("decode", "--bundle", bundle.folder, source, tmp_path / name)
    assert (tmp_path / "plain.wav").read_bytes() == (tmp_path / "later.wav").read_bytes()


def damaged(file, data):
    """Each way in which bytes can be no file, by name."""
    last = len(file.blocks) - 1
    count, payload = file.blocks[last]
    others = b"".join(ptk.whole(*parts) for parts in file.blocks[:last])

    def ending(count, payload):
        return file.header() + others + ptk.whole(count, payload) + file.end()

    yield "empty", b""
    yield "something else", b"RIFF" + data[4:]
    yield "of before the first release", data[:4] + b"\r\n\x1a\n\x02" + data[4:]
    yield "a newer version", file.header(version=9) + data[len(file.header()) :]
    yield "a bit of the header", data[:20] + bytes([data[20] ^ 1]) + data[21:]
    yield "a bit of a block", data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]
    yield "a bit of a checksum", data[:-1] + bytes([data[-1] ^ 1])
    yield "cut in the header", data[:30]
    yield "cut in a block", data[: len(data) // 2]
    yield "no end mark", data[: -len(file.end())]
    yield "bytes after the end mark", data + b"\0"
    yield "no frames in a block", ending(0, b"")
    yield "too many frames in a block", ending(501, payload)
    yield "fewer frames than the payload has", ending(count - 1, payload)
    yield "more frames than the payload has", ending(count + 1, payload)


def test_damage_is_refused_in_a_sentence(parlo, bundle, tokens, tmp_path):
    path, file = tokens
    for name, data in damaged(file, path.read_bytes()):
        with pytest.raises(Damaged):
            bundle.frames(TokenFile.parse(data))
        (tmp_path / "bad.ptk").write_bytes(data)
        said = parlo.refuses("decode", "--bundle", bundle.folder, tmp_path / "bad.ptk", tmp_path / "out.wav")
        assert "bad.ptk" in said, f"{name}: {said}"
        assert [entry.name for entry in tmp_path.iterdir()] == ["bad.ptk"], f"{name} left something behind"


def test_what_lies_before_the_damage_can_be_kept(parlo, bundle, clip, tmp_path):
    data = parlo.run("encode", "--bundle", bundle.folder, clip[0], "-")
    (tmp_path / "cut.ptk").write_bytes(data[: len(data) // 2])
    parlo.run("decode", "--bundle", bundle.folder, "--keep-going", tmp_path / "cut.ptk", tmp_path / "cut.wav")
    (tmp_path / "whole.ptk").write_bytes(data)
    parlo.run("decode", "--bundle", bundle.folder, tmp_path / "whole.ptk", tmp_path / "whole.wav")
    cut, _ = soundfile.read(tmp_path / "cut.wav", dtype="int16")
    whole, _ = soundfile.read(tmp_path / "whole.wav", dtype="int16")
    assert 0.3 * len(whole) < len(cut) < 0.6 * len(whole)
    assert (cut == whole[: len(cut)]).all()


def test_another_model_is_refused(parlo, bundle, tokens, tmp_path):
    file = TokenFile.parse(tokens[0].read_bytes())
    file.bundle = bytes(32)
    (tmp_path / "other.ptk").write_bytes(file.to_bytes())
    for flags in ([], ["--bundle", bundle.folder]):
        said = parlo.refuses("decode", *flags, tmp_path / "other.ptk", tmp_path / "other.wav")
        assert "model" in said and "--bundle" in said
