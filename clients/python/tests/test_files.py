"""Token files: written as the program writes them, read by time, and refused in a sentence."""

import datetime

import numpy as np
import ptk
import pytest
import soundfile

import parlo
from parlo.interchange import items

UTC = datetime.timezone.utc


@pytest.fixture(scope="module")
def path(codec, codes, tmp_path_factory):
    """The speech as a file."""
    path = tmp_path_factory.mktemp("files") / "talk.ptk"
    parlo.write(path, codes, codec, samples=32000)
    return path


@pytest.fixture(scope="module")
def recording(codec, codes, tmp_path_factory):
    """A call, by the document: what was said from 0.04 s on, what was heard from 0.095 s on with all that can become of it."""
    sizes = codec.codebook_sizes

    def run(mark, frames, depth=6):
        listed = [[int(code) for code in codes[:depth, at]] for at in frames]
        return ptk.Run(mark, len(listed), depth, ptk.pack(listed, sizes))

    silence = bytes([60] + [127] * 8)
    blocks = [
        (0, 40, [run("real", range(50)), run("unsent", range(50, 60))]),
        (1, 95, [ptk.Run("waiting", 3), run("real", range(20)), run("coarse", range(20, 25), 2), ptk.Run("predicted", 4)]),
        (1, 735, [ptk.Run("silent", 10, noise=silence), run("real", range(30, 40))]),
        # A second later the clock was set.
        (1, 2000, [ptk.Run("gap", 2), ptk.Run("faded", 1), run("held", range(40, 42))]),
    ]
    tokens = ptk.TokenFile(bytes.fromhex(codec.tokens_id), 16000, 320, 6, codec.name)
    file = ptk.StreamsFile(tokens, 1_800_000_000_123, {0: "said", 1: "heard"}, {"peer": "ann", "program": "a test"}, blocks)
    path = tmp_path_factory.mktemp("files") / "call.ptk"
    path.write_bytes(file.to_bytes())
    return path


def test_a_round_trip(codec, codes, path):
    file = parlo.open(path)
    assert file.streams == ("audio",) and len(file) == 1 and list(file) == ["audio"]
    assert (file.tokens_id, file.bundle_name, file.depth) == (codec.tokens_id[:32], codec.name, 6)
    assert (file.sampling_rate, file.frame_rate, file.num_samples) == (16000, 50.0, 32000)
    assert file.damage is None and file.created is None and "talk.ptk" in repr(file)
    stream = file["audio"]
    assert (stream.name, len(stream)) == ("audio", 101)
    everything = stream[:]
    assert everything.codes.dtype == np.int64 and everything.times.dtype == np.float64 and everything.marks.dtype == np.uint8
    assert (everything.codes == codes).all() and len(everything) == 101
    assert np.allclose(everything.times, np.arange(101) / 50) and (everything.marks == parlo.Mark.REAL).all()


@pytest.mark.parametrize("flags", [[], ["--plain"], ["--depth", "3"], ["--depth", "12", "--beam", "1"]])
def test_the_program_writes_the_same_and_renders_the_same(codec, clip, program, tmp_path, flags):
    samples, rate = clip
    soundfile.write(tmp_path / "clip.wav", samples, rate, subtype="PCM_16")
    program("encode", *flags, tmp_path / "clip.wav", tmp_path / "program.ptk")
    options = dict(zip(flags, flags[1:] + [""]))
    depth, beam = int(options.get("--depth", 6)), int(options.get("--beam", 4))
    codes = codec.encode(samples, rate, depth, beam=beam)
    file = parlo.open(tmp_path / "program.ptk")
    assert (file["audio"][:].codes == codes[0]).all()

    length = codec.num_samples(len(samples), rate)
    assert file.num_samples == length
    said = dict(plain="--plain" in flags, created=file.created, metadata=file.metadata)
    parlo.write(tmp_path / "python.ptk", codes, codec, samples=length, **said)
    assert (tmp_path / "python.ptk").read_bytes() == (tmp_path / "program.ptk").read_bytes()

    program("decode", tmp_path / "python.ptk", tmp_path / "program.wav")
    rendered, found_rate = soundfile.read(tmp_path / "program.wav", dtype="int16")
    assert found_rate == codec.sampling_rate
    sound = codec.decode(file["audio"][:].codes, length=file.num_samples)[0, 0].astype(np.float64)
    # The program rounds to 16 bits.
    rounded = np.copysign(np.floor(np.abs(sound) * 32768 + 0.5), sound).clip(-32768, 32767)
    assert (rendered == rounded).all()


def test_slices_are_by_time(recording, codes):
    file = parlo.open(recording)
    assert file.streams == ("said", "heard") and file.version == 1
    assert file.created == datetime.datetime.fromtimestamp(1_800_000_000.123, UTC)
    assert file.metadata == {"peer": "ann", "program": "a test"} and file.num_samples is None
    assert file.duration == pytest.approx(2.1)
    assert [len(file[name]) for name in file] == [60, 57]

    said = file["said"][:]
    assert (said.codes == codes[:, :60]).all() and np.allclose(said.times, 0.04 + np.arange(60) / 50)
    assert [parlo.Mark(mark).name for mark in said.marks] == ["REAL"] * 50 + ["UNSENT"] * 10
    part = file["said"][0.1:0.2]
    assert (part.codes == codes[:, 3:8]).all() and np.allclose(part.times, [0.1, 0.12, 0.14, 0.16, 0.18])

    heard = file["heard"][:]
    names = "WAITING " * 3 + "REAL " * 20 + "COARSE " * 5 + "PREDICTED " * 4 + "SILENT " * 10 + "REAL " * 10
    assert [parlo.Mark(mark).name for mark in heard.marks] == (names + "GAP GAP FADED HELD HELD").split()
    assert (heard.codes[:, :3] == -1).all() and (heard.codes[:, 3:23] == codes[:, :20]).all()
    assert (heard.codes[:2, 23:28] == codes[:2, 20:25]).all() and (heard.codes[2:, 23:28] == -1).all()
    assert (heard.codes[:, 28:42] == -1).all() and (heard.codes[:, 42:52] == codes[:, 30:40]).all()
    assert heard.times[0] == pytest.approx(0.095) and heard.times[52] == pytest.approx(2.0)
    late = file["heard"][-0.1:]
    assert (late.marks == heard.marks[-5:]).all() and (late.codes == heard.codes[:, -5:]).all()


@pytest.mark.parametrize("span", [(5.0, None), (1.0, 0.5), (0.0, 0.0), (1e300, None), (float("inf"), None), (1.5, 1.9)])
def test_where_nothing_is(recording, span):
    tokens = parlo.open(recording)["heard"][slice(*span)]
    assert tokens.codes.shape == (6, 0) and len(tokens.times) == len(tokens.marks) == len(tokens) == 0
    assert repr(tokens) == "Tokens(0 frames of 6 codes)"


def test_what_was_heard_can_be_heard(codec, recording):
    tokens = parlo.open(recording)["heard"][0.1:1.0]
    assert codec.decode(tokens.codes).shape == (1, 1, len(tokens) * 320 - 320)


@pytest.mark.parametrize(
    ("error", "use"),
    [
        (KeyError, lambda file: file["heart"]),
        (TypeError, lambda file: file[1.5:3.0]),
        (TypeError, lambda file: file["heard"][5]),
        (TypeError, lambda file: file["heard"][::2]),
        (TypeError, lambda file: file["heard"]["a":]),
        (ValueError, lambda file: file["heard"][float("nan") :]),
    ],
)
def test_slices_that_cannot_be(recording, error, use):
    with pytest.raises(error):
        use(parlo.open(recording))


def test_what_a_file_says(codec, codes, tmp_path):
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    parlo.write(tmp_path / "a.ptk", codes[None], codec, created=when, metadata={"speaker": "ann", "é": "ü"})
    file = parlo.open(tmp_path / "a.ptk")
    # As many samples as the decoder renders.
    assert file.num_samples == 100 * 320
    assert file.version == 1
    assert file.created == when and file.metadata["speaker"] == "ann" and file.metadata["é"] == "ü"


@pytest.mark.parametrize(
    ("error", "said", "arguments"),
    [
        (ValueError, "frame 1 has no code", dict(codes=[[3, -1, 5]])),
        (ValueError, "code 1024 in codebook 0 of frame 0", dict(codes=[[1024]])),
        (ValueError, "with a frame at least", dict(codes=np.zeros((6, 0), int))),
        (ValueError, "[K, T] or [1, K, T]", dict(codes=np.zeros((2, 6, 5), int))),
        (TypeError, "codes are integers", dict(codes=np.zeros((6, 5)))),
        (ValueError, "hold up to 1600 samples", dict(samples=1601)),
        (ValueError, "samples is -1", dict(samples=-1)),
        (TypeError, "must be a whole number", dict(samples=1.5)),
        (TypeError, "must be a datetime", dict(created=5)),
        (ValueError, "from 1970 on", dict(created=datetime.datetime(1960, 1, 1, tzinfo=UTC))),
    ],
)
def test_what_cannot_be_written(codec, tmp_path, error, said, arguments):
    (tmp_path / "a.ptk").write_bytes(b"as it was")
    with pytest.raises(error) as raised:
        parlo.write(tmp_path / "a.ptk", **{"codes": np.zeros((6, 5), int), "codec": codec, **arguments})
    assert said in str(raised.value)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("a.ptk", b"as it was")]


def test_where_it_cannot_be_written(codec, codes, tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        parlo.write(tmp_path / "no/such/a.ptk", codes, codec)
    assert raised.value.filename == str(tmp_path / "no/such/a.ptk")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        parlo.write(tmp_path / "folder", codes, codec)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        parlo.open(tmp_path / "nothing.ptk")
    with pytest.raises(OSError):
        parlo.open(tmp_path)["audio"]
    for name, content in (("empty.ptk", b""), ("other.ptk", b"RIFF" + bytes(100))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(parlo.FileError, match=name):
            parlo.open(tmp_path / name)


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(recording, codes, tmp_path):
    data = recording.read_bytes()
    (tmp_path / "cut.ptk").write_bytes(data[:-20])
    file = parlo.open(tmp_path / "cut.ptk")
    assert file.damage is not None and "breaks off" in file.damage and "breaks off" in repr(file)
    assert (file["said"][:].codes == codes[:, :60]).all() and len(file["heard"]) == 52


def test_no_flipped_bit_goes_unseen(codec, path, recording, tmp_path):
    random = np.random.default_rng(11)
    for source in (path, recording):
        data = source.read_bytes()
        whole = parlo.open(source)
        expected = {name: whole[name][:].codes for name in whole}
        for at in random.integers(0, 8 * len(data), 100):
            damaged = bytearray(data)
            damaged[at // 8] ^= 1 << at % 8
            (tmp_path / "flipped.ptk").write_bytes(damaged)
            try:
                file = parlo.open(tmp_path / "flipped.ptk", codec)
                found = {name: file[name][:].codes for name in file}
            except parlo.ParloError:
                continue
            assert file.damage is not None, f"bit {at} of {source}"
            for name, codes in found.items():
                assert (codes == expected[name][:, : codes.shape[1]]).all()


def test_another_model_is_named(codec, path, recording, tmp_path):
    tokens = ptk.TokenFile(bytes(range(32)), 16000, 320, 2, "somebody's", ptk.PLAIN, [(2, bytes(5))], 640)
    (tmp_path / "other.ptk").write_bytes(tokens.to_bytes())
    file = parlo.open(tmp_path / "other.ptk")
    assert file.bundle_name == "somebody's" and len(file["audio"]) == 2
    with pytest.raises(parlo.BundleError) as raised:
        file["audio"][:]
    said = str(raised.value)
    assert "other.ptk" in said and "somebody's (00010203)" in said and f"{codec.name} (" in said and codec.tokens_id[:8] in said
    with pytest.raises(parlo.BundleError, match="made with the model somebody's"):
        parlo.open(tmp_path / "other.ptk", codec)
    assert len(parlo.open(path, codec)["audio"][:]) == 101


def test_a_file_is_read_with_any_bundle_for_its_tokens(codec, codes, tmp_path):
    reference = pytest.importorskip("reference", reason="the second implementation runs with ONNX Runtime for Python")
    earlier = reference.first(reference.Bundle(codec.folder), tmp_path / "first")
    later = reference.newer(earlier, tmp_path / "newer")
    first, newer = parlo.Codec(earlier.folder), parlo.Codec(later.folder)
    assert first.tokens_id == newer.tokens_id == first.bundle_id == earlier.tokens.hex()
    own = later.manifest["tokens"]["id"]
    assert newer.bundle_id == later.id.hex() and newer.speaks(own) and not first.speaks(own)
    assert newer.speaks(first.tokens_id[:32]) and not newer.speaks(newer.bundle_id)
    for writer, reader in ((first, newer), (newer, first)):
        parlo.write(tmp_path / "a.ptk", codes, writer)
        file = parlo.open(tmp_path / "a.ptk", reader)
        assert file.tokens_id == first.tokens_id[:32] and (file["audio"][:].codes == codes).all()
    # The name of the bundle is in the file, and nothing else of it.
    ours, theirs = (items.Item.of("a", codes, each) for each in (first, newer))
    assert ours.model == theirs.model and items.check_model(theirs, first, "here") is theirs


def test_sound_comes_in_pieces_that_are_the_same_from_anywhere(codec, codes, path, recording):
    file = parlo.open(path)
    whole = np.concatenate(list(file.sound(codec)))
    assert whole.dtype == np.float32 and whole.shape == (32000,)
    # Frame by frame or many together, and in 16 bits: the same sound.
    assert np.abs(whole - codec.decode(codes, length=32000)[:32000]).max() < 2e-3
    assert (np.concatenate(list(file.sound(codec, 0.5, 1.25))) == whole[8000:20000]).all()
    # The last half second of the frames: what the decoder is late by is not there.
    assert (np.concatenate(list(file.sound(codec, -0.5))) == whole[24000 + codec.delay_samples :]).all()
    assert list(file.sound(codec, 5.0)) == []
    call = parlo.open(recording)
    sides = {side: np.concatenate(list(call.sound(codec, side=side))) for side in ("said", "heard", "both")}
    assert len(sides["heard"]) == len(sides["both"]) == round(call.duration * 16000)
    assert not sides["heard"][: int(0.095 * 16000)].any() and np.abs(sides["said"][:8000]).max() > 0.01
    with pytest.raises(ValueError, match="said"):
        call.sound(codec, side="left")


def test_a_day_of_sound_is_never_held(codec, tmp_path):
    """A file of a day, and one that only says that it is long: the process grows by no more than a piece."""
    import resource

    tokens = ptk.TokenFile(bytes.fromhex(codec.tokens_id), 16000, 320, 6, codec.name)
    noise = bytes([60] + [127] * 8)
    blocks = [(0, at, [ptk.Run("silent", 500, noise=noise)]) for at in range(0, 86_400_000, 10_000)]
    day = tmp_path / "day.ptk"
    day.write_bytes(ptk.StreamsFile(tokens, 0, {0: "said"}, {}, blocks).to_bytes())
    file = parlo.open(day)
    list(file.sound(codec, 0, 60))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(len(piece) for piece in file.sound(codec, 0, 7200)) == 7200 * 16_000
    assert sum(len(piece) for piece in file.sound(codec, -60)) == 60 * 16_000 - codec.delay_samples
    bomb = tmp_path / "bomb.ptk"
    bomb.write_bytes(ptk.StreamsFile(tokens, 0, {0: "said"}, {}, [(0, 134_000_000, [ptk.Run("waiting", 1)])]).to_bytes())
    with pytest.raises(parlo.FileError, match="nothing from 0.0 s to 134000.0 s"):
        parlo.open(bomb).sound(codec)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
