"""Sound files, and what is written over what."""

import struct

import numpy as np
import pytest
import soundfile

import parlo

RATE = 16000


@pytest.fixture
def wave():
    rng = np.random.default_rng(5)
    return (0.3 * np.sin(np.arange(RATE) * 0.05) + 0.01 * rng.standard_normal(RATE)).astype(np.float32)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_sound_is_read_as_it_is(tmp_path, wave, kind):
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, wave, RATE)
    samples, rate = parlo.read_audio(path)
    assert samples.dtype == np.float32 and samples.shape == wave.shape and rate == RATE
    assert np.corrcoef(samples, wave)[0, 1] > 0.99


def test_channels_are_chosen_by_content_or_by_name(tmp_path, wave):
    path = tmp_path / "two.wav"
    level = lambda x: float(np.sqrt((x**2).mean()))  # noqa: E731
    for columns in ([wave, -wave], [0 * wave, wave], [wave, wave]):
        soundfile.write(path, np.stack(columns, 1), RATE, subtype="FLOAT")
        assert level(parlo.read_audio(path).samples) == pytest.approx(level(wave), rel=0.02)
    soundfile.write(path, np.stack([wave, 0.5 * wave], 1), RATE, subtype="FLOAT")
    assert np.allclose(parlo.read_audio(path, "right").samples, 0.5 * wave)
    assert np.allclose(parlo.read_audio(path, 1).samples, wave)
    assert np.allclose(parlo.read_audio(path, "mix").samples, 0.75 * wave)
    with pytest.raises(ValueError, match="there is no channel 3"):
        parlo.read_audio(path, 3)
    with pytest.raises(ValueError, match="channel"):
        parlo.read_audio(path, "middle")


def test_what_is_missing_is_told(tmp_path, wave):
    path = tmp_path / "cut.wav"
    soundfile.write(path, wave, RATE, subtype="PCM_16")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.warns(parlo.AudioWarning, match="it breaks off; its header promises 1.0 s"):
        samples, _ = parlo.read_audio(path)
    assert len(samples) == (len(data) // 2 - 44) // 2
    path.write_bytes(b"no sound")
    with pytest.raises(parlo.FileError, match="is not sound"):
        parlo.read_audio(path)
    with pytest.raises(FileNotFoundError):
        parlo.read_audio(tmp_path / "nowhere.wav")


def test_only_token_files_are_replaced(tmp_path, wave):
    codec = parlo.Codec()
    codes = codec.encode(wave, RATE)[0]
    path = tmp_path / "a.ptk"
    parlo.write(path, codes, codec)
    first = path.read_bytes()
    parlo.write(path, codes[:3], codec)
    assert path.read_bytes() != first
    path.write_bytes(b"RIFF" + struct.pack("<I", 4) + b"WAVE")
    with pytest.raises(FileExistsError, match="is there and is not a token file"):
        parlo.write(path, codes, codec)
    with pytest.raises(ValueError, match="name it .ptk"):
        parlo.write(tmp_path / "a.wav", codes, codec)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.ptk"]


def test_samples_by_channels_are_no_thousands_of_recordings(wave):
    codec = parlo.Codec()
    for channels in (1, 2, 6):
        with pytest.raises(ValueError, match=r"samples, channels\].*samples last"):
            codec.encode(np.repeat(wave[:, None], channels, 1), RATE)
    with pytest.raises(ValueError, match="samples last"):
        codec.encode(np.repeat(wave[:, None, None], 2, 2), RATE)
