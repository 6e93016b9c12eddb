"""Configurations: what ships, what is refused, and in what words."""

from __future__ import annotations

import tomllib

import pytest

pytest.importorskip("torch")
pytest.importorskip("soxr")
pytest.importorskip("tqdm")

from parlo_training.config import Config
from parlo_training.errors import UserError
from parlo_training.train import override
from support import CONFIGS, setting


def test_the_16_khz_configuration_spells_the_defaults_out():
    path = CONFIGS / "parlo-16k.toml"
    assert Config.load(path) == Config()
    written = tomllib.loads(path.read_text())
    whole = Config().to_dict()
    assert written.keys() == whole.keys()
    assert all(written[table].keys() == whole[table].keys() for table in whole)
    settings = [line for line in path.read_text().splitlines() if " = " in line]
    assert all("  # " in line for line in settings)


def test_each_configuration_changes_what_its_name_says():
    names = {path.stem for path in CONFIGS.glob("*.toml")}
    assert names == {"parlo-16k", "parlo-16k-lean", "parlo-16k-voice", "parlo-24k", "tiny",
                     "vocos-head"}
    assert setting("parlo-24k") == override(Config(), ["audio.rate=24000"])
    assert setting("vocos-head") == override(Config(), ['decoder.head="vocos"'])
    assert setting("parlo-16k-lean").quantizer == Config().quantizer
    assert setting("parlo-16k-lean").decoder.head == "harmonic-noise"
    assert setting("parlo-16k-voice").encoder.kind == "voice"
    assert setting("tiny").quantizer.entries == 32


def test_frames_are_20_ms_at_every_rate():
    for rate in (8000, 16000, 24000, 48000):
        audio = override(Config(), [f"audio.rate={rate}"]).audio
        assert (audio.frame, audio.hop, audio.bins) == (rate // 50, rate // 100, rate // 100 + 1)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.toml")))
def test_configurations_survive_being_written(name, tmp_path):
    tomli_w = pytest.importorskip("tomli_w")
    config = setting(name)
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config.to_dict()))
    assert Config.load(path) == config == Config.from_dict(config.to_dict())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[audio]\nrat = 1", "audio: unknown setting 'rat'; there are rate"),
        ("[audios]\nrate = 1", "unknown setting 'audios'; there are audio, encoder"),
        ("audio = 16000", "audio must be a table"),
        ("[audio]\nrate = 16000.0", "audio: rate must be a int, not 16000.0"),
        ("[audio]\nrate = true", "audio: rate must be a int, not True"),
        ('[losses]\nmel = "1"', "losses: mel must be a float, not '1'"),
        ("[losses]\nmel = nan", "losses: mel must be a float, not nan"),
        ("[losses]\nmel = false", "losses: mel must be a float, not False"),
        ("[training]\nbf16 = 1", "training: bf16 must be a bool, not 1"),
        ("[training]\nspeeds = 1.0", "training: speeds must be a list"),
        ('[training]\nspeeds = [1.0, "a"]', "training: speeds must be a float, not 'a'"),
        ("[training]\nbetas = [0.8]", "training: betas must be a list of two"),
        ("[audio]\nrate = 22050", "audio.rate must be a multiple of 400"),
        ("[audio]\nrate = 96000", "audio.rate must be 8000 to 48000"),
        ('[decoder]\nhead = "hifi"', 'decoder.head is one of'),
        ("[decoder]\nkernel = 1", "decoder.kernel must be 2 to 64"),
        ("[encoder]\nblocks = 0", "encoder.blocks must be 1 or more"),
        ("[decoder]\nfine_blocks = 0", "decoder.fine_blocks must be 1 or more"),
        ("[quantizer]\nstages = 65", "quantizer.stages must be 1 to 64"),
        ("[quantizer]\nentries = 1", "quantizer.entries must be 2 to 65536"),
        ("[quantizer]\nlatent = 1", "quantizer.latent must be 2 or more"),
        ("[quantizer]\npitch_scale = 24", "quantizer.pitch_scale must be a power of two"),
        ("[losses]\nsizes = [512]", "losses.sizes and .mels must pair"),
        ("[losses]\nsizes = [2]\nmels = [1]", "losses.sizes must be 32 or more"),
        ("[training]\nbatch = 0", "training.batch must be 1 or more"),
        ("[training]\nseconds = 0.1", "training.seconds must be 0.2 or more"),
        ("[training]\nunquantized = 0", "training.unquantized must be 1 or more"),
        ("[training]\nspeeds = []", "training.speeds must be 0.5 to 2"),
        ("[training]\nspeeds = [0.0]", "training.speeds must be 0.5 to 2"),
        ("[augment]\nnoise = 1.5", "augment.noise must be 0 to 1"),
        ("[audio", "is not valid TOML"),
    ],
)
def test_what_cannot_work_is_refused_by_name(text, sentence, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        Config.load(path)
    assert sentence in str(error.value)


def test_files_that_are_no_configuration_are_refused(tmp_path):
    path = tmp_path / "config.toml"
    with pytest.raises(UserError, match="cannot read the configuration .*No such file"):
        Config.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not valid TOML"):
        Config.load(path)


def test_overrides_change_one_setting_each():
    changed = override(Config(), ["training.batch=4", 'decoder.head="vocos"', "losses.mel=2"])
    assert (changed.training.batch, changed.decoder.head, changed.losses.mel) == (4, "vocos", 2.0)
    assert changed.training.rate == Config().training.rate
    assert override(Config(), []) == Config()


@pytest.mark.parametrize(
    "words",
    [
        "training.batch", "training.batch=four", "training.bath=4", "",
        "batch=4",
    ],
)
def test_overrides_that_make_no_sense_are_refused(words):
    with pytest.raises(UserError, match="--set"):
        override(Config(), [words])


def test_only_the_network_decides_whether_weights_fit():
    plain = Config().model()
    for same in ("training.batch=1", "losses.mel=3", "quantizer.decay=0.9", "augment.noise=0"):
        assert override(Config(), [same]).model() == plain
    for other in ("encoder.width=128", "audio.rate=24000", "quantizer.stages=8"):
        assert override(Config(), [other]).model() != plain
