"""`parlo encode - - | parlo decode - -` while it runs."""

import io
import os
import select
import subprocess

import pytest
import soundfile

from conftest import TIMEOUT_S

WAV_HEADER = 44
# What may lie between input and output: a block of 240 ms, the model's delay and the last frames held back until it is
# known whether they are padding, and what the parts gather before they pass it on.
BEHIND_S = 0.5


class Pipe:
    """Both programs, joined."""

    def __init__(self, parlo, bundle):
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        at = ("--bundle", bundle.folder, "-", "-")
        self.encoder = parlo.start("encode", *at, stdin=subprocess.PIPE, **piped)
        self.decoder = parlo.start("decode", *at, stdin=self.encoder.stdout, **piped)
        self.encoder.stdout.close()
        self.heard = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in (self.encoder, self.decoder):
            program.kill()
            program.communicate()

    def say(self, data):
        self.encoder.stdin.write(data)
        self.encoder.stdin.flush()

    def hear(self, least):
        """Waits until so many bytes have come in all."""
        while len(self.heard) < least:
            ready, _, _ = select.select([self.decoder.stdout], [], [], TIMEOUT_S)
            data = os.read(self.decoder.stdout.fileno(), 1 << 16) if ready else b""
            if not data:
                pytest.fail(f"{least} bytes should have come, {len(self.heard)} did, and no more come", pytrace=False)
            self.heard += data

    def end(self):
        """Ends the input, and gives all that was heard, and how both programs ended."""
        self.encoder.stdin.close()
        self.encoder.stdin = None
        rest, _ = self.decoder.communicate(timeout=TIMEOUT_S)
        return self.heard + rest, self.encoder.wait(TIMEOUT_S), self.decoder.returncode


def test_sound_comes_out_while_sound_goes_in(parlo, bundle, clip, tmp_path):
    """No clock: more is said only when what was said before has been heard, but for what may lie between."""
    wav, second = clip[0].read_bytes(), 2 * bundle.sample_rate
    with Pipe(parlo, bundle) as pipe:
        pipe.say(wav[:WAV_HEADER])
        # 50 ms at a time, as a recorder would.
        for start in range(WAV_HEADER, len(wav), second // 20):
            said = wav[start : start + second // 20]
            pipe.say(said)
            pipe.hear(start + len(said) - int(BEHIND_S * second))
        heard, *ends = pipe.end()
    assert ends == [0, 0]
    # The same as by files, but for the header, which cannot know the length.
    parlo.run("encode", "--bundle", bundle.folder, clip[0], tmp_path / "clip.ptk")
    parlo.run("decode", "--bundle", bundle.folder, tmp_path / "clip.ptk", tmp_path / "clip.wav")
    assert heard[WAV_HEADER:] == (tmp_path / "clip.wav").read_bytes()[WAV_HEADER:]


def test_a_wav_stream_of_open_length_is_read_to_its_end(parlo, bundle, clip):
    wav = bytearray(clip[0].read_bytes())
    assert wav[36:40] == b"data"
    wav[4:8] = wav[40:44] = b"\xff" * 4
    with Pipe(parlo, bundle) as pipe:
        # Both ends of the pipe fill up if nobody listens: half at a time.
        pipe.say(wav[: len(wav) // 2])
        pipe.hear(len(wav) // 4)
        pipe.say(wav[len(wav) // 2 :])
        heard, *ends = pipe.end()
    assert ends == [0, 0] and len(heard) == len(wav)


def test_what_comes_out_can_go_in(parlo, bundle, clip):
    """The header of a stream is one that others, and we, can read."""
    short = io.BytesIO()
    soundfile.write(short, clip[1][:12345], bundle.sample_rate, format="WAV", subtype="PCM_16")
    with Pipe(parlo, bundle) as pipe:
        pipe.say(short.getvalue())
        heard, *ends = pipe.end()
    audio, rate = soundfile.read(io.BytesIO(heard), dtype="int16")
    assert (ends, rate, len(audio)) == ([0, 0], bundle.sample_rate, 12345)
    assert parlo.run("encode", "--bundle", bundle.folder, "-", "-", input=heard)


def test_tokens_that_break_off_are_not_taken_for_whole(parlo, bundle, clip):
    tokens = parlo.run("encode", "--bundle", bundle.folder, clip[0], "-")
    said = parlo.refuses("decode", "--bundle", bundle.folder, "-", "-", input=tokens[: len(tokens) // 2])
    assert "standard input" in said and "breaks off" in said


def test_nothing_is_said_when_nobody_listens_any_more(parlo, bundle, clip):
    encoder = parlo.start(
        "encode", "--bundle", bundle.folder, clip[0], "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    encoder.stdout.read(1)
    encoder.stdout.close()
    encoder.stdout = None
    _, said = encoder.communicate(timeout=TIMEOUT_S)
    assert (encoder.returncode, said) == (1, b"")
