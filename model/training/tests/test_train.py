"""Training: it learns, keeps to its budget, stops when told, and says what is wrong."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
import types

import pytest

torch = pytest.importorskip("torch")
for package in ("soxr", "tqdm", "tensorboard", "tomli_w"):
    pytest.importorskip(package)

from parlo_training import train
from parlo_training.__main__ import main
from parlo_training.checkpoint import Checkpoint
from parlo_training.config import Config
from parlo_training.data import Corpus
from parlo_training.errors import UserError
from parlo_training.train import Plan, Trainer
from support import CONFIGS, ROOT, options, pulse_train, setting, write_cache

CPU = torch.device("cpu")
TINY = CONFIGS / "tiny.toml"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Two voices of a second and a half each."""
    clips = [(f"{f}", pulse_train(f, 1.5, 16000), f) for f in (110, 220)]
    return write_cache(tmp_path_factory.mktemp("voices") / "cache", clips, 16000)


def run(cache, out, *words):
    """`train` on a CPU, with the tiny configuration unless `words` begin with another."""
    config = [] if "--config" in words or "--from" in words else ["--config", TINY]
    args = options(train, "--cache", cache, "--out", out, "--device", "cpu", *config, *words)
    return train.run(args)


def trainer_of(cache, *changes):
    config = setting("tiny", *changes)
    return Trainer(config, Corpus(cache, config, CPU), CPU)


@pytest.fixture
def clock(monkeypatch):
    """Time that goes on by a second whenever the loop looks."""
    ticks = iter(range(10**9))
    monkeypatch.setattr(train, "time", types.SimpleNamespace(monotonic=lambda: float(next(ticks))))


# The budget.


def test_the_rate_rises_stays_and_falls_to_zero():
    config = setting("tiny", "training.warmup=10", "training.decay_share=0.25")
    plan, rates = Plan(0, 100), []
    for _ in range(100):
        rates.append(plan.rate(config))
        plan.spent_steps += 1
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert set(rates[9:76]) == {1.0}
    assert all(after < before for before, after in zip(rates[75:], rates[76:]))
    assert 0 < rates[-1] <= 0.05 and plan.rate(config) == 0 and plan.share() == 1


def test_minutes_and_steps_are_shared_out_alike():
    assert Plan(2.0, 0, spent_seconds=30).share() == pytest.approx(0.25)
    assert Plan(0, 8, spent_steps=2).share() == pytest.approx(0.25)
    assert Plan(2.0, 0, spent_seconds=300).share() == Plan(0, 8, spent_steps=9).share() == 1


def test_a_budget_of_minutes_ends_with_the_rate_near_zero(cache, tmp_path, clock):
    run(cache, tmp_path, "--minutes", 0.7, "--set", "training.warmup=2")
    end = Checkpoint.load(tmp_path / "checkpoint.pt")
    assert 40 <= end.step <= 42
    assert end.plan["spent_seconds"] == pytest.approx(42, abs=1)
    rate = end.optimizer["param_groups"][0]["lr"] / end.config.training.rate
    assert 0 < rate < 0.15


@pytest.mark.parametrize("words", [(), ("--minutes", 1, "--steps", 1), ("--minutes", -1)])
def test_one_budget_is_needed(words, cache, tmp_path):
    with pytest.raises(UserError, match="either --minutes or --steps"):
        run(cache, tmp_path, *words)


# Learning.


@pytest.mark.slow
def test_thirty_steps_on_the_clip_lower_the_loss(clip_cache):
    trainer = trainer_of(
        clip_cache, "training.batch=4", "training.rate=3e-3", "training.unquantized=8"
    )
    plan = Plan(0, 32)
    before = {name: value.clone() for name, value in trainer.codec.state_dict().items()}
    crops = trainer.corpus.draw(torch.Generator().manual_seed(9))

    @torch.no_grad()
    def distance():
        delay = trainer.codec.delay
        made = trainer.codec.decode(trainer.codec.encode(crops.input))[:, delay:]
        weight = torch.ones(len(made))
        return float(trainer.loss(made.unsqueeze(0), crops.target[:, :-delay], weight).loss)

    untrained = distance()
    terms = [trainer.train_step(plan) for _ in range(32)]
    assert all(torch.isfinite(value) for step in terms for value in step.values())
    assert distance() < 0.8 * untrained
    pitch = [float(step["pitch"]) for step in terms]
    assert sum(pitch[-6:]) < 0.9 * sum(pitch[:6])
    # every part has learnt, and the average follows
    after = trainer.codec.state_dict()
    still = [name for name, value in after.items() if torch.equal(value, before[name])]
    assert not still
    for name, value in trainer.average.items():
        assert not torch.equal(value, before[name]), name
        if name.startswith("quantizer."):
            assert torch.equal(value, after[name])


def test_the_same_seed_trains_the_same(cache):
    results = []
    for seed in (1, 1, 2):
        trainer, plan = trainer_of(cache, f"training.seed={seed}"), Plan(0, 10)
        results.append([float(trainer.train_step(plan)["total"]) for _ in range(6)])
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("changes", [
    ("audio.rate=24000",),
    ('decoder.head="vocos"',),
    ('decoder.head="harmonic-noise"', "training.follow=0.5", "losses.complex=0.5"),
    ("losses.draws=1",),
    ("training.bf16=true",),
    ("training.adversarial_from=0.5", "training.adversarial_warmup=0",
     "training.discriminator_width=16", "training.seconds=0.5"),
])
def test_every_kind_of_run_takes_steps(changes, tmp_path):
    rate = 24000 if "audio.rate=24000" in changes else 16000
    clips = [(f"{f}", pulse_train(f, 1.0, rate), f) for f in (110, 220)]
    trainer = trainer_of(write_cache(tmp_path, clips, rate), "training.unquantized=1", *changes)
    plan = Plan(0, 4)
    terms = [trainer.train_step(plan) for _ in range(4)]
    assert all(torch.isfinite(value) for step in terms for value in step.values())
    assert ("adversarial" in terms[-1]) == ("adversarial_from" in changes[0])
    assert "adversarial" not in terms[0]


def test_a_decoder_is_trained_for_tokens_that_are_there(cache, tmp_path):
    run(cache, tmp_path / "first", "--steps", 6, "--set", "training.unquantized=1")
    words = ("--tokens", tmp_path / "first/checkpoint.pt", "--set", 'decoder.head="harmonic-noise"',
             "--set", "quantizer.entries=64")
    with pytest.raises(UserError, match="quantizer.entries"):
        run(cache, tmp_path / "other", "--steps", 4, *words)
    words = words[:-2]
    assert run(cache, tmp_path / "second", "--steps", 4, *words) == 0
    assert run(cache, tmp_path / "second", "--steps", 4, *words) == 0  # and gone on with
    first, second = (Checkpoint.load(tmp_path / name / "checkpoint.pt")
                     for name in ("first", "second"))
    assert second.step == 8 and second.config.training.only == "decoder"
    for name, value in second.model.items():
        if not name.startswith("decoder."):
            assert torch.equal(value, first.average[name]), name
    fresh = trainer_of(cache, 'decoder.head="harmonic-noise"').codec.state_dict()
    moved = [name for name in fresh if name.startswith("decoder.")
             and not torch.equal(second.model[name], fresh[name])]
    assert len(moved) > 20
    with pytest.raises(UserError, match="--tokens"):
        run(cache, tmp_path / "none", "--steps", 4, "--set", 'training.only="decoder"')
    # slim, it is the decoder alone, which is gone on with beside its tokens
    second.slim().save(tmp_path / "slim.pt")
    with pytest.raises(UserError, match="holds no codebooks"):
        run(cache, tmp_path / "none", "--steps", 1, "--from", tmp_path / "slim.pt")
    assert run(cache, tmp_path / "third", "--steps", 1, *words, "--from", tmp_path / "slim.pt",
               "--set", "training.rate=0") == 0
    third = Checkpoint.load(tmp_path / "third/checkpoint.pt")
    assert third.step == 9 and third.model.keys() == second.model.keys()
    for name, value in third.model.items():
        assert torch.allclose(value, second.average[name], rtol=2e-3, atol=1e-3), name


def test_encoder_and_decoder_are_trained_for_codebooks_that_are_there(cache, tmp_path):
    run(cache, tmp_path / "first", "--steps", 6, "--set", "training.unquantized=1")
    words = ("--tokens", tmp_path / "first/checkpoint.pt", "--set", 'training.only="networks"')
    assert run(cache, tmp_path / "second", "--steps", 4, *words) == 0
    first, second = (Checkpoint.load(tmp_path / name / "checkpoint.pt")
                     for name in ("first", "second"))
    moved = [name for name, value in second.average.items()
             if not torch.equal(value, first.average[name])]
    assert not any(name.startswith("quantizer.") for name in moved)
    # it begins with the encoder that is there
    encoder = [name for name in moved if name.startswith("encoder.")]
    assert len(encoder) > 10 and any(name.startswith("decoder.") for name in moved)
    assert all((second.average[name] - first.average[name]).abs().max() < 0.1 for name in encoder)
    second.slim().save(tmp_path / "slim.pt")
    assert not any("quantizer" in name for name in second.slim().average)
    third = Checkpoint.load(tmp_path / "slim.pt", first)
    assert third.average.keys() == second.average.keys()
    for name, value in third.average.items():
        assert torch.allclose(value, second.average[name], rtol=2e-3, atol=1e-3), name


def test_disturbances_are_those_of_a_stream(cache):
    trainer = trainer_of(cache, "robustness.item=1.0", "robustness.repeat=0.3",
                         "robustness.coarse=0.3", "robustness.substitute=0.3")
    depth, source, other = trainer._disturb(64, 50)
    index = torch.arange(50).expand(64, 50)
    assert depth.min() >= 1 and depth.max() <= 4
    # a repeated frame is the one before it, or what that repeats
    assert (source <= index).all() and (source[:, 0] == 0).all()
    repeated = source < index
    assert (source[repeated] == source.roll(1, 1)[repeated]).all()
    assert 0.2 < repeated.float().mean() < 0.4 and 0.2 < other.float().mean() < 0.4
    calm = trainer_of(cache, "robustness.item=0.0")
    depth, source, other = calm._disturb(64, 50)
    assert (source == index).all() and not other.any()
    assert (depth == depth[:, :1]).all() and set(depth[:, 0].tolist()) == {1, 2, 3, 4}


# The loop: logs, checkpoints, signals.


def test_a_run_leaves_a_checkpoint_its_configuration_and_a_log(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "LOG_EVERY", 2)
    assert run(cache, tmp_path, "--steps", 6, "--set", "training.seed=5") == 0
    assert Checkpoint.load(tmp_path / "checkpoint.pt").step == 6
    assert Config.load(tmp_path / "config.toml") == setting("tiny", "training.seed=5")
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert all(float(row["spectral"]) > 0 and None not in row for row in rows)
    assert list((tmp_path / "log").glob("events*"))


def test_the_log_keeps_its_columns_when_discriminators_begin(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "LOG_EVERY", 2)
    words = ("adversarial_from=0.5", "adversarial_warmup=1", "discriminator_width=16")
    run(cache, tmp_path, "--steps", 6, *(x for word in words for x in ("--set", f"training.{word}")))
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert all(None not in row for row in rows)
    assert float(rows[-1]["total"]) == pytest.approx(float(rows[0]["total"]), rel=0.9)


def test_the_log_of_a_resumed_run_holds_means(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "LOG_EVERY", 4)
    monkeypatch.setattr(Trainer, "train_step", counted(lambda step: None))
    run(cache, tmp_path, "--steps", 2)
    run(cache, tmp_path, "--steps", 3)
    (row,) = csv.DictReader((tmp_path / "log.csv").open())
    assert float(row["total"]) == 1


def counted(also):
    """A step that does nothing but count, and what is done beside it."""

    def train_step(trainer, plan):
        trainer.step += 1
        plan.spent_steps += 1
        also(trainer.step)
        return {name: torch.tensor(1.0) for name in ("spectral", "total")}

    return train_step


def test_a_request_to_stop_ends_with_a_whole_checkpoint(cache, tmp_path, monkeypatch, capfd):
    before = signal.getsignal(signal.SIGTERM)
    step = counted(lambda number: number == 3 and os.kill(os.getpid(), signal.SIGTERM))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", step)
        assert run(cache, tmp_path, "--steps", 8) == 0
    assert signal.getsignal(signal.SIGTERM) == before
    stopped = Checkpoint.load(tmp_path / "checkpoint.pt")
    assert (stopped.step, stopped.plan["spent_steps"]) == (3, 3)
    assert "stopped: step 3" in capfd.readouterr().err
    # the same command again: the rest of the budget; and once more: another budget
    for steps in (8, 16):
        run(cache, tmp_path, "--steps", 8)
        assert Checkpoint.load(tmp_path / "checkpoint.pt").step == steps
        assert "done: step" in capfd.readouterr().err


@pytest.mark.slow
def test_the_program_stops_when_told(cache, tmp_path):
    command = [sys.executable, "-m", "parlo_training", "train", "--config", TINY, "--cache", cache,
               "--out", tmp_path, "--minutes", "5", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "model/training"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(1200):
                if (tmp_path / "log.csv").exists() or process.poll() is not None:
                    break
                time.sleep(0.05)
            time.sleep(0.5)
            process.terminate()
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "stopped: step" in said
    assert Checkpoint.load(tmp_path / "checkpoint.pt").plan["minutes"] == 5


def test_checkpoints_are_written_on_the_way(cache, tmp_path, monkeypatch, clock):
    seen = set()

    def look(step):
        path = tmp_path / "checkpoint.pt"
        seen.add(Checkpoint.load(path).step if path.exists() else 0)

    monkeypatch.setattr(Trainer, "train_step", counted(look))
    run(cache, tmp_path, "--steps", 20, "--save-every", 5 / 60)
    assert len(seen) >= 3 and max(seen) >= 10


def test_a_loss_that_is_no_number_ends_the_run(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "LOG_EVERY", 2)
    run(cache, tmp_path, "--steps", 2)

    def broken(trainer, plan):
        trainer.step += 1
        return {"total": torch.tensor(float("nan"))}

    monkeypatch.setattr(Trainer, "train_step", broken)
    with pytest.raises(UserError, match="the loss is not a number at step 4"):
        run(cache, tmp_path, "--steps", 5)
    assert Checkpoint.load(tmp_path / "checkpoint.pt").step == 2


# Where a run begins.


def test_a_run_begins_with_the_weights_of_another(cache, tmp_path):
    run(cache, tmp_path / "first", "--steps", 6)
    Checkpoint.load(tmp_path / "first/checkpoint.pt").slim().save(tmp_path / "slim.pt")
    run(cache, tmp_path / "second", "--steps", 1, "--from", tmp_path / "slim.pt",
        "--set", "training.rate=0")
    first = Checkpoint.load(tmp_path / "slim.pt")
    second = Checkpoint.load(tmp_path / "second/checkpoint.pt")
    assert second.step == 7 and second.config.encoder == first.config.encoder
    assert torch.equal(second.model["encoder.enter.weight"], first.model["encoder.enter.weight"])


def test_what_does_not_fit_is_refused_and_left_alone(cache, tmp_path):
    run(cache, tmp_path, "--steps", 1)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(UserError, match="encoder.width = 32, and the configuration says 48"):
        run(cache, tmp_path, "--steps", 1, "--set", "encoder.width=48")
    with pytest.raises(UserError, match="there is no checkpoint"):
        run(cache, tmp_path / "other", "--steps", 1, "--from", tmp_path / "none.pt")
    with pytest.raises(UserError, match="is not a finished cache"):
        run(tmp_path, tmp_path / "other", "--steps", 1)
    with pytest.raises(UserError, match="cannot make the folder"):
        run(cache, tmp_path / "checkpoint.pt/run", "--steps", 1)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


# The program.


def test_mistakes_are_told_in_a_sentence(tmp_path, capsys):
    words = ["train", "--cache", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        "parlo_training train: give the budget: either --minutes or --steps\n"
    )
    assert main([*words, "--steps", "1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"parlo_training train: {tmp_path} is not a finished cache")
    assert "Traceback" not in said


@pytest.mark.parametrize("words", [[], ["--help"], ["train", "--help"], ["prepare", "--help"]])
def test_help_is_given(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == (0 if words else 2)
    said = capsys.readouterr()
    assert "usage: parlo_training" in said.out + said.err


def refusing(times):
    """A `Checkpoint.save` that finds the disk full the first `times` times."""
    whole, calls = Checkpoint.save, []

    def save(self, path):
        calls.append(path)
        if len(calls) <= times:
            raise UserError(f"cannot write the checkpoint {path}: the disk is full")
        whole(self, path)

    return save


def test_a_full_disk_in_the_middle_of_a_run_does_not_end_it(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Checkpoint, "save", refusing(1))
    run(cache, tmp_path, "--steps", 2, "--save-every", 0)
    assert Checkpoint.load(tmp_path / "checkpoint.pt").step == 2
    assert "the disk is full; training goes on" in capsys.readouterr().err


def test_a_full_disk_at_the_end_waits_for_room(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Checkpoint, "save", refusing(3))
    run(cache, tmp_path, "--steps", 1)
    assert Checkpoint.load(tmp_path / "checkpoint.pt").step == 1
    assert capsys.readouterr().err.count("make room") == 1


def test_a_disk_that_stays_full_is_an_error_in_the_end(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "WAIT_FOR_ROOM", 0.0)
    monkeypatch.setattr(Checkpoint, "save", refusing(10))
    with pytest.raises(UserError, match="the disk is full"):
        run(cache, tmp_path, "--steps", 1)
