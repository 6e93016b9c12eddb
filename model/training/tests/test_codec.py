"""The codec: streams equal whole files, nothing sees the future, every prefix of codes decodes."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
soxr = pytest.importorskip("soxr")
soundfile = pytest.importorskip("soundfile")
pytest.importorskip("tqdm")

from parlo_training.codec import Codec
from parlo_training.excitation import PULL, TURN, Excitation
from parlo_training.harmonic_noise import NOISE
from parlo_training.latents import MIDDLE_DB, Layout
from support import CLIP, setting

VOICE = ('encoder.kind="voice"', "quantizer.level_scale=0.67", "quantizer.phase_scale=2.0",
         "quantizer.phase_from=1", 'decoder.head="harmonic-noise"')
HEADS = {name: (f'decoder.head="{name}"',) for name in ("harmonic", "harmonic-noise", "vocos")}
CODECS = HEADS | {"voice": VOICE}
KINDS = [(rate, name) for rate in (16000, 24000) for name in CODECS]


def make(rate=16000, head="harmonic", config="tiny", seed=1):
    """A codec with codebooks of its own latents' spread, and weights that make a difference."""
    torch.manual_seed(seed)
    codec = Codec(setting(config, f"audio.rate={rate}", *CODECS[head])).eval()
    codec.quantizer.codebooks.normal_().mul_(codec.quantizer.visible[:, None])
    with torch.no_grad():  # an untrained head hardly listens to what is before it
        codec.decoder.head.weight.mul_(4)
        if head == "harmonic":
            codec.decoder.listen.weight.normal_(std=0.1)
    return codec


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}")
def codec(request):
    return make(*request.param)


def speech(codec, seconds=1.0, start=1.0):
    """Of the clip that ships, [1, samples] in whole frames, with a pause at its end."""
    rate, frame = codec.config.audio.rate, codec.config.audio.frame
    audio, found = soundfile.read(CLIP, dtype="float32")
    audio = soxr.resample(audio[int(start * found) :][: int(seconds * found)], found, rate)
    audio = np.pad(audio, (0, -len(audio) % frame + 5 * frame))
    return torch.from_numpy(audio).unsqueeze(0)


@torch.no_grad()
def stream_encoder(codec, audio):
    """Latents [1, T, D] of audio [1, samples], a frame a call."""
    frame, encoder = codec.config.audio.frame, codec.encoder
    states = [torch.zeros(1, frame), *encoder.stack.initial_states(1, encoder.width)]
    latents = []
    for piece in audio.split(frame, 1):
        latent, *states = encoder.step(piece, *states)
        latents.append(latent)
    return torch.cat(latents, 1)


@torch.no_grad()
def stream_decoder(codec, latent, depths):
    """Audio [1, samples] of latents [1, T, D], a frame a call."""
    decoder, own = codec.decoder, codec.decoder.own
    states = [torch.zeros(1, decoder.hop)]
    sources = {"harmonic": (1, 2, decoder.hop), "harmonic-noise": (1, decoder.hop), "vocos": None}
    if sources[own.head]:
        oscillator = 3 if own.head == "harmonic" else 5
        states += [torch.zeros(1, oscillator), torch.zeros(sources[own.head])]
    states += decoder.stack.initial_states(1, own.width)
    states += decoder.fine.initial_states(1, own.fine_width)
    pieces = []
    for frame in range(latent.shape[1]):
        one_hot = torch.nn.functional.one_hot(depths[:, frame], decoder.stages + 1).float()
        piece, *states = decoder.step(latent[:, frame : frame + 1], one_hot, *states)
        pieces.append(piece)
    return torch.cat(pieces, 1)


def depths_of(codec, frames):
    return torch.arange(frames).unsqueeze(0) % codec.decoder.stages + 1


@torch.no_grad()
def test_a_stream_is_encoded_as_a_whole_file_is(codec):
    audio = speech(codec)
    whole, streamed = codec.encoder(audio)[0], stream_encoder(codec, audio)
    # the pitch element is in units of 1/32 octave, the level's in dB; the others have unit variance
    layout = Layout(codec.config.quantizer)
    scale = torch.ones(whole.shape[-1])
    scale[0] = codec.config.quantizer.pitch_scale
    scale[1 : layout.told] = 10
    assert ((whole - streamed).abs() / scale).max() < 1e-5
    assert whole[..., layout.told :].std() > 0.5


@torch.no_grad()
def test_a_stream_is_decoded_as_a_whole_file_is(codec):
    latent = codec.encoder(speech(codec))[0]
    depths = depths_of(codec, latent.shape[1])
    whole, streamed = codec.decoder(latent, depths), stream_decoder(codec, latent, depths)
    assert whole.abs().max() > 0.01
    assert (whole - streamed).abs().max() < 1e-5 * max(1.0, float(whole.abs().max()))


@torch.no_grad()
def test_latents_do_not_depend_on_the_future(codec):
    audio, frame = speech(codec), codec.config.audio.frame
    latent = codec.encoder(audio)[0]
    for count in (1, 20, 41):
        changed = audio.clone()
        changed[:, count * frame :] = 0.5 * torch.randn(
            changed[:, count * frame :].shape, generator=torch.Generator().manual_seed(count)
        )
        other = codec.encoder(changed)[0]
        assert torch.allclose(other[:, :count], latent[:, :count], atol=1e-5)
        assert not torch.allclose(other[:, count:], latent[:, count:], atol=1e-2)


@torch.no_grad()
def test_the_latency_is_40_ms(codec):
    """What is heard of the input up to a sample is settled 40 ms after it, and not sooner."""
    audio, frame = speech(codec), codec.config.audio.frame
    heard = codec.decode(codec.encode(audio))[:, codec.delay :]
    at = 30 * frame
    changed = audio.clone()
    changed[:, at:] = 0.3 * torch.randn(
        changed[:, at:].shape, generator=torch.Generator().manual_seed(1)
    )
    other = codec.decode(codec.encode(changed))[:, codec.delay :]
    different = ((heard - other).abs() > 1e-5).flatten().nonzero().flatten()
    assert codec.delay == frame == codec.config.audio.rate // 50
    # a frame's first sample waits for the frame to end (20 ms) and for the next one (20 ms)
    assert at - 2 * frame < at - frame <= int(different[0]) < at


@torch.no_grad()
def test_unit_gains_give_the_pulses_back(monkeypatch):
    codec = make()
    decoder = codec.decoder
    monkeypatch.setattr(decoder, "_spectrum", lambda head, sources: sources[:2])
    latent = torch.zeros(1, 40, codec.config.quantizer.latent)
    latent[..., 0] = torch.linspace(-20, 20, 40)
    audio = decoder(latent, torch.full((1, 40), 4))
    pulses, _ = decoder.excitation.whole(latent[..., 0], None)
    hop = decoder.hop
    assert torch.allclose(audio[:, hop:], pulses[:, :-hop], atol=1e-4)
    assert audio.abs().max() > 1


@torch.no_grad()
def test_every_prefix_of_the_codes_decodes(codec):
    audio = speech(codec, 0.6)
    codes = codec.encode(audio)
    stages = codec.config.quantizer.stages
    assert codes.shape == (1, audio.shape[1] // codec.config.audio.frame, stages)
    made = [codec.decode(codes[..., :depth]) for depth in range(1, stages + 1)]
    assert all(one.shape == audio.shape and torch.isfinite(one).all() for one in made)
    assert all(not torch.equal(one, other) for one, other in zip(made, made[1:]))


@torch.no_grad()
def test_the_last_frame_is_filled_with_silence(codec):
    audio, frame = speech(codec, 0.4), codec.config.audio.frame
    cut = audio[:, : 10 * frame + 7]
    padded = torch.nn.functional.pad(cut, (0, frame - 7))
    assert torch.equal(codec.encode(cut), codec.encode(padded))


@pytest.mark.parametrize("level", [0.0, 1e-6, 1.0, 100.0])
def test_nothing_is_not_finite(codec, level):
    frame = codec.config.audio.frame
    audio = level * torch.sign(torch.sin(torch.arange(20 * frame) * 0.05)).unsqueeze(0)
    audio.requires_grad_()
    latent, scores = codec.encoder(audio)
    made = codec.decoder(latent, depths_of(codec, 20))
    assert torch.isfinite(latent).all()
    assert all(torch.isfinite(values).all() for values in scores.values())
    assert torch.isfinite(made).all()
    (made.square().sum() + scores["pitch"].logsumexp(-1).sum()).backward()
    assert torch.isfinite(audio.grad).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in codec.parameters())
    codec.zero_grad(set_to_none=True)
    assert torch.isfinite(codec.decode(codec.encode(audio.detach()))).all()


@torch.no_grad()
def test_a_batch_is_its_items(codec):
    one = speech(codec, 0.4)
    batch = torch.cat([one, one.flip(1), 0.1 * one])
    latent = codec.encoder(batch)[0]
    made = codec.decoder(latent, depths_of(codec, latent.shape[1]).expand(3, -1))
    for item in range(3):
        alone = codec.encoder(batch[item : item + 1])[0]
        assert torch.allclose(latent[item], alone[0], atol=1e-4)
        again = codec.decoder(alone, depths_of(codec, alone.shape[1]))
        assert torch.allclose(made[item], again[0], atol=1e-4 * max(1, float(made.abs().max())))


@torch.no_grad()
def test_an_untrained_encoder_finds_the_pitch_by_autocorrelation():
    codec = make()
    from support import pulse_train

    for hertz in (80, 120, 200, 350):
        audio = torch.from_numpy(pulse_train(hertz, 0.6, 16000)).unsqueeze(0)
        codec.encoder.candidates.weight[:, : codec.encoder.width].zero_()
        element = codec.encoder(audio)[0][0, 5:, 0]
        cents = 1200 / 32 * (element - codec.decoder.excitation.pitch.element(torch.tensor(hertz)))
        assert cents.abs().median() < 40


def test_the_compute_is_stated_by_part():
    small, shipped = make().compute(), Codec(setting("parlo-16k")).compute()
    assert shipped.keys() == {"encoder", "decoder", "search"}
    assert all(0 < small[part] < shipped[part] for part in shipped)
    assert shipped["search"] == pytest.approx(50 * 12 * 1024 * 64 / 1e6)
    assert sum(shipped.values()) < 500


# What is drawn.


@torch.no_grad()
@pytest.mark.parametrize("head", ["harmonic", "harmonic-noise", "voice"])
def test_draws_share_codes_and_differ_in_noise(head):
    codec = make(head=head)
    codes = codec.encode(speech(codec))
    depth = torch.full(codes.shape[:2], codes.shape[2])
    latent = codec.quantizer.decode(codes)

    def drawn(seed, draws):
        return codec.decoder.draw(latent, depth, torch.Generator().manual_seed(seed), draws)

    two = drawn(1, 2)
    assert two.shape == (2, 1, codes.shape[1] * codec.config.audio.frame)
    assert torch.equal(two, drawn(1, 2)) and not torch.equal(two, drawn(2, 2))
    level = two.square().mean((1, 2)).sqrt()
    assert (two[0] - two[1]).square().mean().sqrt() > 0.5 * level.min()
    # without a generator nothing is left to chance
    assert torch.equal(codec.decode(codes), codec.decode(codes))


@torch.no_grad()
def test_noise_does_not_come_again():
    """The running decoder's noise is keyed by the window's number: what is heard for the same codes
    again and again is as far from itself at every distance as noise is from noise."""
    codec = make(head="harmonic-noise")
    decoder = codec.decoder
    number = torch.arange(2000)
    noise = torch.nn.functional.embedding(decoder._places(number), decoder.noise[:, None])[..., 0]
    noise = noise / noise.square().mean(1, keepdim=True).sqrt()
    likeness = noise[:1000] @ noise[:1000].t() / noise.shape[1]
    likeness.fill_diagonal_(0)
    assert likeness.abs().max() < 0.35 and likeness.std() < 0.08
    starts = torch.remainder(torch.arange(NOISE) * 19997, NOISE)
    assert len(starts.unique()) == NOISE


def test_pulses_follow_a_track():
    codec = make(head="harmonic-noise")
    decoder, frame = codec.decoder, codec.config.audio.frame
    hertz, time = 130.0, 30
    track = ((torch.arange(4 * time + 1) * frame / 4) * hertz / 16000).unsqueeze(0)
    cycles, slope = decoder.excitation.follow(track)
    expected = torch.arange(1, time * frame + 1) * hertz / 16000
    assert torch.allclose(cycles[0], expected, atol=1e-3)
    pulses = decoder.excitation.kernel(cycles, slope)[0]
    peaks = (pulses > 0.7 * pulses.max()).nonzero().flatten() + 1
    turns = peaks * hertz / 16000
    assert len(peaks) > 40 and (turns - turns.round()).abs().max() < hertz / 16000


# Level and phase, told apart.


@torch.no_grad()
@pytest.mark.parametrize("gain_db", [-30, -20, 10])
def test_the_level_is_told_apart(gain_db):
    codec = make(head="voice")
    audio = speech(codec)
    layout = Layout(codec.config.quantizer)
    latent, louder = (codec.encoder(audio * gain)[0] for gain in (1, 10 ** (gain_db / 20)))
    level = layout.level_db(latent)
    loud = level > -30  # what is near the floor does not move as far
    assert (layout.level_db(louder) - level)[loud].sub(gain_db).abs().max() < 1
    other = (latent - louder)[..., layout.told :].abs()[loud[..., 0]]
    assert other.mean() < 0.1
    # and what is told is what is heard
    depth = torch.full(latent.shape[:2], codec.config.quantizer.stages)
    louder = latent.clone()
    louder[..., layout.level] += layout.level_scale * 6.0206
    levels = [codec.decoder(x, depth).square().mean().sqrt() for x in (latent, louder)]
    # the blocks see the level too; untrained, they make little of it
    assert 1.4 < float(levels[1] / levels[0]) < 2.8


@torch.no_grad()
def test_the_level_is_that_of_the_sound():
    codec = make(head="voice")
    layout = Layout(codec.config.quantizer)
    for level_db in (-60.0, MIDDLE_DB, -3.0):
        noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(1))
        latent, _ = codec.encoder(noise * 10 ** (level_db / 20))
        assert float(layout.level_db(latent)[:, 2:].mean()) == pytest.approx(level_db, abs=0.7)


@torch.no_grad()
def test_books_before_the_phases_leave_it_alone():
    codec = make(head="voice")
    layout, books = Layout(codec.config.quantizer), codec.quantizer
    latents = torch.randn(600, codec.config.quantizer.latent)
    books.start(latents)
    for _ in range(3):
        books.quantize(latents[None], torch.full((1, 600), 4), learn=True)
    phase = slice(layout.phase, layout.told)
    assert (books.codebooks[:1, :, phase] == 0).all()
    assert (books.codebooks[1:, :, phase].std((1, 2)) > 0.1).all()


@torch.no_grad()
@pytest.mark.parametrize("wrong", [0.98, 1.0, 1.01])
def test_the_oscillator_follows_phases_that_are_told(wrong):
    """Told where the pulses are, it comes to them within some frames, though the pitch that was told
    is off by 2 %; told nothing, it stays where that left it."""
    excitation = Excitation(16000, 320, 32)
    hertz, time = 140.0, 60
    element = excitation.pitch.element(torch.full((1, time), hertz * wrong))
    ends = hertz * 0.02 * torch.arange(1, time + 1) + 0.3
    told = torch.where(torch.arange(time) < 40, 1.0, 0.0).unsqueeze(0)
    angle = 2 * torch.pi * ends.unsqueeze(0)
    before, now, phase = excitation.oscillate(element)
    free = torch.remainder(phase + (before + now) * 160, TURN)
    offset, mean = excitation.lock(free, told * torch.cos(angle), told * torch.sin(angle),
                                   torch.zeros(1, 2))
    off = (free / TURN + offset - ends)[0]
    off = (off - off.round()).abs()
    drift = abs(1 - wrong) * hertz * 0.02
    # behind by what it drifts while it catches up
    assert off[8:40].max() < drift * (1 - PULL) / PULL + 0.01
    kept = offset[0, 40:] - offset[0, 39]
    assert (kept - kept.round()).abs().max() < 1e-4
    # a frame at a time, or all at once
    state, steps = torch.zeros(1, 2), []
    for frame in range(time):
        at = slice(frame, frame + 1)
        one, state = excitation.lock(
            free[:, at], (told * torch.cos(angle))[:, at], (told * torch.sin(angle))[:, at],
            state,
        )
        state = state[:, -1]
        steps.append(one)
    apart = torch.cat(steps, 1) - offset
    assert (apart - apart.round()).abs().max() < 1e-4
