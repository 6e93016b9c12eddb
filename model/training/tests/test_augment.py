"""Augmentation: what each kind does to signals whose answer is known, and that none does harm."""

import itertools
import math

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")
torch = pytest.importorskip("torch")
pytest.importorskip("soxr")

from parlo_training.augment import (
    Augment,
    AugmentConfig,
    active_level,
    load_noise,
    load_rooms,
    pitch_shift,
)
from parlo_training.errors import UserError

RATE = 16000
LENGTH = 8000
PLAIN = dict(equalise=0.0, band_limit=0.0, room=0.0, noise=0.0, talkers=0.0, clip=0.0,
             alone=0.0, tones=0.0)
ALL = {name: 1.0 for name in PLAIN}


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def white(*shape, seed=2):
    return 0.1 * torch.randn(*shape, generator=seeded(seed))


def click(batch, at):
    speech = torch.zeros(batch, LENGTH)
    speech[:, at] = 0.9
    return speech


def reverberation():
    responses = white(3, 3200, seed=3) * torch.exp(-torch.arange(3200) / 400)
    return responses / responses.square().sum(1, keepdim=True).sqrt()


def augment(speech, seed=1, recordings=None, responses=None, **settings):
    config = AugmentConfig(**{**PLAIN, **settings})
    return Augment(config, RATE, recordings, responses)(speech, seeded(seed))


def decibels(ratio):
    return 20 * torch.log10(ratio)


def gains_db(speech, out):
    """The gain from each item's click to what came out, [B, bins], and the bins' frequencies."""
    spectra = torch.fft.rfft(out.double()).abs() / torch.fft.rfft(speech.double()).abs()
    return decibels(spectra), torch.fft.rfftfreq(LENGTH, 1 / RATE)


def assert_scaled(found, expected):
    """Equal but for one gain per item."""
    gain = (found * expected).sum(1) / expected.square().sum(1)
    assert gain.min() > 0
    error = (found - gain[:, None] * expected).abs().amax(1) / found.abs().amax(1)
    assert error.max() < 1e-4


def test_same_generator_same_batch():
    speech, noise = white(6, LENGTH), white(50000)
    before = speech.clone()
    first, again, other = (augment(speech, s, noise, reverberation(), **ALL) for s in (1, 1, 2))
    assert torch.equal(speech, before)
    assert torch.equal(first.input, again.input) and torch.equal(first.target, again.target)
    assert torch.equal(first.pitch_known, again.pitch_known)
    assert not torch.allclose(first.input, other.input)


def test_configuration_does_not_change_what_is_drawn_next():
    one, two = seeded(), seeded()
    Augment(AugmentConfig(**PLAIN), RATE, None, None)(white(3, LENGTH), one)
    Augment(AugmentConfig(**ALL), RATE, white(5000), reverberation())(white(3, LENGTH), two)
    assert torch.equal(one.get_state(), two.get_state())


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("level", [0.0, 1e-7, 1.0, 1e4])
def test_always_finite_and_under_full_scale(level, clean):
    speech = white(4, LENGTH) * level
    loud = dict(gain_db=(0.0, 0.0), clean_target=clean)
    out = augment(speech, 1, white(50000), reverberation(), **ALL, **loud)
    for audio in (out.input, out.target):
        assert audio.shape == speech.shape and audio.dtype == torch.float32
        assert audio.isfinite().all() and audio.abs().max() < 1
    assert out.pitch_known.shape == (4,) and out.pitch_known.dtype == torch.bool


@pytest.mark.parametrize("length", [1, 2, 319, 321])
def test_short_crops(length):
    out = augment(white(2, length), 1, white(100), reverberation(), **ALL)
    assert out.input.shape == (2, length) and out.input.isfinite().all()


def test_level_is_as_drawn():
    speech = white(32, LENGTH) * torch.linspace(0.1, 3, 32)[:, None]
    speech[:, LENGTH // 2 :] = 0  # a pause does not count
    out = augment(speech, gain_db=(-34.0, -22.0))
    level = decibels(active_level(out.target, RATE))
    assert -34.01 < level.min() < -32 and -24 < level.max() < -21.99
    assert_scaled(out.target, speech)
    assert torch.equal(out.input, out.target) and out.pitch_known.all()


def test_active_level_of_a_tone_between_pauses():
    tone = 0.5 * torch.sin(2 * math.pi * 400 * torch.arange(3200) / RATE)
    speech = torch.cat([torch.zeros(1600), tone, torch.zeros(3200)])[None]
    torch.testing.assert_close(active_level(speech, RATE), torch.tensor([0.5 / math.sqrt(2)]))
    assert active_level(torch.zeros(2, 100), RATE).tolist() == [0, 0]


def test_pause_does_not_become_as_loud_as_speech():
    pause = white(4, LENGTH) * 1e-3
    out = augment(pause, gain_db=(-16.0, -16.0))
    torch.testing.assert_close(out.target, pause * 10 ** (24 / 20))


def test_peaks_are_scaled_alike():
    settings = dict(noise=1.0, clean_target=True)
    quiet, loud = (
        augment(white(8, LENGTH), 1, white(50000), gain_db=(level, level), **settings)
        for level in (-20.0, 0.0)
    )
    peak = torch.maximum(loud.input.abs().amax(1), loud.target.abs().amax(1))
    torch.testing.assert_close(peak, torch.full((8,), 0.99))
    both = [torch.cat([out.input, out.target], dim=1) for out in (quiet, loud)]
    assert_scaled(*both)


def test_equaliser_is_smooth_causal_and_within_bounds():
    speech = click(32, 1000)
    out = augment(speech, equalise=1.0)
    assert torch.equal(out.input, out.target) and out.pitch_known.all()
    gain, frequency = gains_db(speech, out.target)
    spread = gain.amax(1) - gain.amin(1)
    assert 4 < spread.max() <= 16.01
    # No more than 1 dB from one bin of 2 Hz to the next few.
    assert (gain[:, 10:] - gain[:, :-10]).abs().max() < 1
    assert gain.isfinite().all() and frequency[-1] == RATE / 2
    before = out.target[:, :1000].abs().amax(1) / out.target.abs().amax(1)
    assert before.max() < 1e-5


def test_band_limits():
    speech = click(32, 1000)
    out = augment(speech, band_limit=1.0)
    assert torch.equal(out.input, out.target)
    gain, frequency = gains_db(speech, out.target)
    gain = gain - gain[:, frequency == 1000.0]
    assert gain[:, (frequency > 600) & (frequency < 2500)].abs().max() < 0.5
    low = frequency[(gain > -3.0).int().argmax(1)]
    high = frequency[-1 - (gain > -3.0).flip(1).int().argmax(1)]
    assert 48 <= low.min() < 90 and 260 < low.max() <= 302
    assert 3390 <= high.min() < 3900 and 7000 < high.max() <= 7510
    assert gain[:, frequency == 10.0].max() < -27
    assert out.target[:, :990].abs().max() < 1e-5 * out.target.abs().max()


@pytest.mark.parametrize("rate", [8000, 48000])
def test_band_limits_at_other_rates(rate):
    config = AugmentConfig(**{**PLAIN, "band_limit": 1.0})
    out = Augment(config, rate, None, None)(white(4, LENGTH), seeded())
    assert out.target.isfinite().all() and active_level(out.target, rate).min() > 0.01


@pytest.mark.parametrize("clean", [False, True])
def test_room_is_a_convolution_without_delay(clean):
    response = torch.zeros(1, 3200)
    response[0, 0], response[0, 3000] = 0.8, -0.6
    speech = white(3, LENGTH)
    expected = 0.8 * speech
    expected[:, 3000:] -= 0.6 * speech[:, :-3000]
    out = augment(speech, 1, None, response, room=1.0, clean_target=clean)
    assert_scaled(out.input, expected)
    assert_scaled(out.target, speech if clean else expected)
    assert out.pitch_known.all()


def test_every_room_is_drawn():
    responses = torch.zeros(3, 3)
    responses.fill_diagonal_(1.0)
    out = augment(click(32, 1000), 1, None, responses, room=1.0)
    assert set(out.input.argmax(1).tolist()) == {1000, 1001, 1002}


@pytest.mark.parametrize("clean", [False, True])
def test_each_item_meets_what_it_drew_alone(clean):
    """In a mixed batch each item is as in a batch of which all drew the same as it did."""
    kinds = ("equalise", "band_limit", "room", "noise")
    speech = white(24, LENGTH) * torch.linspace(0.3, 1, 24)[:, None]

    def both(*probabilities):
        settings = dict(zip(kinds, probabilities), clean_target=clean)
        out = augment(speech, 1, white(50000), reverberation(), **settings)
        return torch.cat([out.input, out.target], dim=1)

    mixed = both(0.5, 0.5, 0.5, 0.5)
    combinations = list(itertools.product((0.0, 1.0), repeat=4))
    distance = torch.stack([(mixed - both(*each)).abs().amax(1) for each in combinations])
    nearest = distance.amin(0)
    assert nearest.max() < 1e-5
    assert ((distance < 1e-5).sum(0) == 1).all()
    assert len(set(distance.argmin(0).tolist())) > 8


@pytest.mark.parametrize("band_limit", [0.0, 1.0])
def test_noise_has_the_ratio_drawn(band_limit):
    settings = dict(noise=1.0, band_limit=band_limit, noise_snr_db=(5.0, 30.0))
    speech = white(32, LENGTH)
    out = augment(speech, 1, white(50000, seed=5), **settings, clean_target=True)
    noise = out.input - out.target
    ratio = decibels(active_level(out.target, RATE) / noise.square().mean(1).sqrt())
    assert 4.99 < ratio.min() < 8 and 27 < ratio.max() < 30.01
    assert torch.equal(out.pitch_known, ratio >= 10)
    assert 0 < out.pitch_known.sum() < 32
    if band_limit:
        power = torch.fft.rfft(noise).abs().square().mean(0)
        assert power[-100:].mean() < 1e-3 * power[1000:1100].mean()
    kept = augment(speech, 1, white(50000, seed=5), **settings)
    assert torch.equal(kept.input, kept.target)
    torch.testing.assert_close(kept.input, out.input)


def test_noise_shorter_than_a_crop_repeats():
    noise = white(300)
    out = augment(white(2, LENGTH), 1, noise, noise=1.0, clean_target=True)
    heard = out.input - out.target
    torch.testing.assert_close(heard[:, 300:], heard[:, :-300], rtol=0, atol=1e-6)


def test_a_pause_gets_noise_and_a_gap_in_it_stays_one():
    out = augment(torch.zeros(2, LENGTH), 1, white(50000), noise=1.0)
    assert out.input.square().mean(1).sqrt().min() > 1e-4
    out = augment(torch.zeros(2, LENGTH), 1, torch.zeros(50000), noise=1.0)
    assert out.input.abs().max() == 0


def test_second_talker_is_another_item():
    """Tones of different pitch: each item has its own and, 0 to 10 dB under it, one other."""
    bins = 400 * torch.arange(1, 9)
    time = torch.arange(LENGTH)
    speech = torch.sin(2 * math.pi * bins[:, None] * time / LENGTH)
    speech *= torch.linspace(0.05, 0.5, 8)[:, None]
    out = augment(speech, talkers=1.0, clean_target=True)
    assert torch.equal(out.input, out.target) and not out.pitch_known.any()
    tones = torch.fft.rfft(out.target).abs()[:, bins]
    own = tones.diagonal().clone()
    others = tones.clone().fill_diagonal_(0)
    relative = decibels(others.amax(1) / own)
    assert -10.01 < relative.min() < -6 and -4 < relative.max() < 0.01
    assert ((others > 0.01 * own[:, None]).sum(1) == 1).all()
    alone = augment(speech[:1], talkers=1.0)
    assert alone.pitch_known.all()
    assert_scaled(alone.target, speech[:1])


def test_noise_alone_is_as_loud_as_speech_and_has_no_pitch():
    noise = white(50000, seed=5)
    out = augment(white(16, LENGTH), 1, noise, alone=1.0, gain_db=(-30.0, -30.0))
    assert torch.equal(out.input, out.target) and not out.pitch_known.any()
    level = decibels(active_level(out.target, RATE))
    assert (level + 30).abs().max() < 0.1
    # a stretch of the recording, somewhere
    spread = torch.cat([noise, noise])
    where = torch.nn.functional.conv1d(spread[None, None], out.target[:1, None, :400]).argmax()
    found = spread[where : where + LENGTH]
    assert torch.nn.functional.cosine_similarity(found, out.target[0], dim=0) > 0.999
    # without recordings there is none
    assert augment(white(2, LENGTH), alone=1.0).pitch_known.all()


def test_tones_are_few_and_have_no_pitch():
    out = augment(white(32, LENGTH), tones=1.0)
    assert torch.equal(out.input, out.target) and not out.pitch_known.any()
    spectra = torch.fft.rfft(out.target * torch.hann_window(LENGTH)).square().abs()
    share = spectra / spectra.sum(1, keepdim=True)
    few = share.sort(1, descending=True).values[:, :400].sum(1)
    assert (few > 0.95).all()
    # some are a single tone that holds its pitch
    assert ((share.sort(1, descending=True).values[:, :5].sum(1)) > 0.95).sum() >= 5


def test_clipping_spares_the_target():
    speech = white(32, LENGTH)
    out, plain = augment(speech, clip=1.0), augment(speech)
    assert torch.equal(out.target, plain.target) and out.pitch_known.all()
    most = out.input.abs().amax(1, keepdim=True)
    under = decibels(out.target.abs().amax(1, keepdim=True) / most)
    assert 2.99 < under.min() < 5 and 10 < under.max() < 12.01
    torch.testing.assert_close(out.input, out.target.clamp(-most, most))


def test_without_recordings_there_is_no_noise_and_no_room():
    speech = white(4, LENGTH)
    out = augment(speech, noise=1.0, room=1.0, noise_snr_db=(0.0, 0.0))
    assert_scaled(out.input, speech)
    assert out.pitch_known.all()


def test_refusals():
    for wrong in (dict(room=1.5), dict(gain_db=(-10.0, -20.0)), dict(noise_snr_db=(1.0,))):
        with pytest.raises(UserError, match=f"augment.{next(iter(wrong))}"):
            AugmentConfig(**wrong)
    with pytest.raises(ValueError, match="noise"):
        Augment(AugmentConfig(), RATE, torch.zeros(2, 2), None)
    with pytest.raises(ValueError, match="rooms"):
        Augment(AugmentConfig(), RATE, None, torch.zeros(5))
    with pytest.raises(ValueError, match="speech"):
        augment(torch.zeros(5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("clean", [False, True])
def test_same_on_a_gpu(clean):
    speech, noise = white(8, LENGTH), white(50000)
    settings = dict(**{name: 0.6 for name in ALL}, clean_target=clean)
    here = augment(speech, 1, noise, reverberation(), **settings)
    there = augment(speech.cuda(), 1, noise, reverberation().cuda(), **settings)
    for name in ("input", "target", "pitch_known"):
        found, expected = getattr(there, name), getattr(here, name)
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("to", [6720, 7999, 8003, 9600])
def test_pitch_shift_of_a_tone(to):
    time = torch.arange(LENGTH, dtype=torch.float64) / RATE
    tone = torch.sin(2 * math.pi * 231.7 * time)[None].float()
    shifted = pitch_shift(tone, to)
    assert shifted.shape == (1, to) and shifted.dtype == torch.float32
    expected = torch.sin(2 * math.pi * 231.7 * LENGTH / to * torch.arange(to) / RATE)
    inner = slice(200, -200)
    torch.testing.assert_close(shifted[0, inner], expected[inner], rtol=0, atol=5e-3)


def test_pitch_shift_there_and_back():
    low = torch.fft.irfft(torch.fft.rfft(white(2, LENGTH))[:, :3000], n=LENGTH)
    back = pitch_shift(pitch_shift(low, 9001), LENGTH)[:, 300:-300]
    torch.testing.assert_close(back, low[:, 300:-300], rtol=0, atol=2e-3)
    assert torch.equal(pitch_shift(low, LENGTH), low)


def test_pitch_shift_keeps_a_line():
    line = torch.linspace(-1, 1, 501)[None]
    expected = -1 + torch.arange(1001)[None] * (501 / 1001) / 250
    torch.testing.assert_close(pitch_shift(line, 1001), expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="1 samples"):
        pitch_shift(torch.zeros(1, 1), 10)


def test_load_noise_takes_first_channels_at_the_rate(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 500 * np.arange(4800) / 48000)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, np.ones(4800)], axis=1), 48000, "FLOAT")
    soundfile.write(tmp_path / "b.wav", np.full(70, 0.25), RATE, "FLOAT")
    noise = load_noise([tmp_path / "a.wav", tmp_path / "b.wav"], RATE)
    assert noise.dtype == torch.float32 and noise.shape == (1670,)
    expected = 0.5 * torch.sin(2 * math.pi * 500 * torch.arange(1600) / RATE)
    torch.testing.assert_close(noise[200:1400], expected[200:1400], rtol=0, atol=1e-3)
    assert (noise[1600:] == 0.25).all()


def test_load_rooms_begin_at_the_direct_path(tmp_path):
    response = np.zeros((20000, 2))
    response[5:400, 0] = 0.001  # noise before anything arrives
    response[[500, 503, 900], 0] = 0.6, -0.8, 1.0  # the direct path's peak, then a louder echo
    soundfile.write(tmp_path / "a.wav", response, RATE, "FLOAT")
    soundfile.write(tmp_path / "b.wav", response[:1000], RATE, "FLOAT")
    rooms = load_rooms([tmp_path / "a.wav", tmp_path / "b.wav"], RATE)
    assert rooms.shape == (2, 6400) and rooms.dtype == torch.float32
    torch.testing.assert_close(rooms.square().sum(1), torch.ones(2))
    assert set(rooms[0].nonzero().flatten().tolist()) == {0, 397}
    torch.testing.assert_close(rooms[0, 0] / rooms[0, 397], torch.tensor(-0.8))


def test_load_rooms_resamples_and_fades(tmp_path):
    response = np.full(48000, 0.1)
    response[100] = 1.0
    soundfile.write(tmp_path / "a.wav", response, 48000, "FLOAT")
    (room,) = load_rooms([tmp_path / "a.wav"], RATE, seconds=0.1)
    assert room.shape == (1600,) and room[:100].argmax() == 0
    assert room[1399] > 0 and room[-1].abs() < 1e-6


def test_loading_says_what_is_wrong(tmp_path):
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(100), RATE)
    text = tmp_path / "text.wav"
    text.write_text("not audio")
    with pytest.raises(UserError, match="silent.wav"):
        load_rooms([silent], RATE)
    for load in (load_rooms, load_noise):
        for path in (text, tmp_path / "missing.wav"):
            with pytest.raises(UserError, match=path.name):
                load([path], RATE)
        with pytest.raises(UserError):
            load([], RATE)
