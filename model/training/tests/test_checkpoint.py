"""Checkpoints: whole or not there, and a run that goes on as if it had never stopped."""

from __future__ import annotations

import errno
import math
import os

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soxr")
pytest.importorskip("tqdm")

from parlo_training.checkpoint import Checkpoint
from parlo_training.config import Config
from parlo_training.data import Corpus
from parlo_training.errors import UserError
from parlo_training.train import Plan, Trainer
from support import pulse_train, setting, write_cache

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Three voices of a second and a half each."""
    clips = [(f"{f}", pulse_train(f, 1.5, 16000), f) for f in (110, 180, 260)]
    return write_cache(tmp_path_factory.mktemp("voices") / "cache", clips, 16000)


def trainer_of(cache, *changes):
    config = setting("tiny", *changes)
    return Trainer(config, Corpus(cache, config, CPU), CPU)


def trained(cache, steps, *changes):
    """A trainer after so many steps, and its plan."""
    trainer, plan = trainer_of(cache, *changes), Plan(minutes=0, steps=20)
    for _ in range(steps):
        trainer.train_step(plan)
    return trainer, plan


def flat(value, name=""):
    """All tensors and numbers in nested dictionaries and lists, by name."""
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        return {name: value}
    found = {}
    for key, inner in parts:
        found |= flat(inner, f"{name}.{key}")
    return found


def assert_equal(one, other):
    """Two states are equal bit by bit."""
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal if isinstance(value, torch.Tensor) else lambda a, b: a == b
        assert same(value, other[name]), name


def state_of(trainer, plan):
    """All that a checkpoint keeps, but how long it took; the global generator is as it is now."""
    content = dict(vars(trainer.checkpoint(plan)), seconds=0)
    return content | {"config": content["config"].to_dict()}


# The file.


def test_a_checkpoint_comes_back_as_it_was_written(cache, tmp_path):
    trainer, plan = trained(cache, 6)
    path = tmp_path / "checkpoint.pt"
    trainer.checkpoint(plan).save(path)
    loaded = Checkpoint.load(path)
    assert_equal(dict(vars(loaded), config=loaded.config.to_dict()), state_of(trainer, plan))
    assert loaded.config == trainer.config and loaded.step == 6
    assert loaded.plan == {"minutes": 0, "steps": 20, "spent_seconds": 0.0, "spent_steps": 6}
    assert loaded.notes["speakers"] == 3 and math.isclose(loaded.notes["hours"], 4.5 / 3600)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (Killed(), Killed),
        (OSError(errno.ENOSPC, "No space left on device"), UserError),
        (OSError(errno.EIO, "Input/output error"), UserError),
        (RuntimeError("[enforce fail at inline_container.cc:595] . unexpected pos"), UserError),
    ],
)
def test_what_ends_in_the_middle_leaves_the_old_checkpoint_whole(
    failure, raised, cache, tmp_path, monkeypatch
):
    path = tmp_path / "checkpoint.pt"
    trainer, plan = trained(cache, 1)
    trainer.checkpoint(plan).save(path)
    old = path.read_bytes()
    trainer.train_step(plan)

    def half(content, file):
        file.write(old[: len(old) // 2])
        raise failure

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(raised) as error:
        trainer.checkpoint(plan).save(path)
    if raised is UserError:
        assert "the checkpoint of before is whole" in str(error.value)
        assert ("disk is full" in str(error.value)) == (getattr(failure, "errno", 0) != errno.EIO)
        assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert path.read_bytes() == old and Checkpoint.load(path).step == 1
    # ... and what a kill leaves is not in the way
    monkeypatch.undo()
    trainer.checkpoint(plan).save(path)
    assert Checkpoint.load(path).step == 2
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_is_replaced_in_one_move(cache, tmp_path):
    path, other_name = tmp_path / "checkpoint.pt", tmp_path / "link"
    trainer, plan = trained(cache, 1)
    trainer.checkpoint(plan).save(path)
    os.link(path, other_name)
    trainer.train_step(plan)
    trainer.checkpoint(plan).save(path)
    # who has opened the old file reads it to its end
    assert Checkpoint.load(other_name).step == 1 and Checkpoint.load(path).step == 2


def test_a_folder_that_is_not_there_is_said(cache, tmp_path):
    trainer, plan = trained(cache, 0)
    with pytest.raises(UserError, match="cannot write the checkpoint .*No such file") as error:
        trainer.checkpoint(plan).save(tmp_path / "none/checkpoint.pt")
    assert "of before" not in str(error.value)


def test_what_is_no_whole_checkpoint_is_refused(cache, tmp_path):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(UserError, match=f"there is no checkpoint {path}"):
        Checkpoint.load(path)
    with pytest.raises(UserError, match="cannot read the checkpoint .*directory"):
        Checkpoint.load(tmp_path)
    trainer, plan = trained(cache, 1)
    trainer.checkpoint(plan).save(path)
    whole = path.read_bytes()
    noise = torch.randint(256, (3000,), generator=torch.Generator().manual_seed(1)).tolist()
    damaged = [whole[: len(whole) * part // 10] for part in range(10)] + [whole[:-1]]
    damaged += [bytes(noise[start : start + 60]) for start in range(0, 3000, 60)]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(UserError, match="is not a whole checkpoint: it was cut short"):
            Checkpoint.load(path)


def test_files_of_other_programs_and_versions_are_refused(cache, tmp_path):
    path = tmp_path / "checkpoint.pt"
    for content in ({"model": {}}, [1, 2], {"format": 99}):
        torch.save(content, path)
        with pytest.raises(UserError, match="is not a checkpoint of this program"):
            Checkpoint.load(path)
    for content in ({"format": 1}, {"format": 1, "config": Config().to_dict(), "more": 1}):
        torch.save(content, path)
        with pytest.raises(UserError, match="is a checkpoint of another version"):
            Checkpoint.load(path)


def test_no_code_is_run_from_a_checkpoint(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"format": 1, "config": Trap()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError):
        Checkpoint.load(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_slim_checkpoint_holds_the_average_alone(cache, tmp_path):
    wide = ["encoder.width=96", "decoder.width=96", "quantizer.entries=512"]
    trainer, plan = trained(cache, 6, *wide)
    trainer.checkpoint(plan).save(tmp_path / "whole.pt")
    trainer.checkpoint(plan).slim().save(tmp_path / "slim.pt")
    sizes = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["slim"] < 0.2 * sizes["whole"]
    slim = Checkpoint.load(tmp_path / "slim.pt")
    assert (slim.step, slim.config) == (6, trainer.config)
    assert slim.optimizer is slim.adversary is None and not slim.random and not slim.plan
    assert slim.notes == trainer.checkpoint(plan).notes
    assert slim.average.keys() == trainer.average.keys() == slim.model.keys()
    for name, value in trainer.average.items():
        assert slim.average[name].dtype == value.dtype
        assert torch.allclose(slim.average[name], value, rtol=2e-3, atol=1e-3), name
        assert torch.equal(slim.average[name], slim.model[name])
    # twice through is the same as once
    slim.slim().save(tmp_path / "again.pt")
    assert_equal(Checkpoint.load(tmp_path / "again.pt").average, slim.average)
    # and a run begins with it
    other = trainer_of(cache, *wide)
    other.restore(slim)
    assert torch.isfinite(other.train_step(Plan(0, 10))["total"]) and other.step == 7


# Fitting, and going on.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("encoder.width=48", "encoder.width = 32, and the configuration says 48"),
        ("audio.rate=24000", "audio.rate = 16000, and the configuration says 24000"),
        ('decoder.head="vocos"', "decoder.head = harmonic, and the configuration says vocos"),
        ("quantizer.stages=2", "quantizer.stages = 4, and the configuration says 2"),
    ],
)
def test_weights_of_another_network_are_refused(change, words, cache, tmp_path):
    trainer, plan = trained(cache, 0)
    checkpoint = trainer.checkpoint(plan)
    with pytest.raises(UserError, match="path.pt holds a model with " + words):
        checkpoint.require(setting("tiny", change), tmp_path / "path.pt")


def test_another_course_of_training_is_not_another_network(cache, tmp_path):
    trainer, plan = trained(cache, 0)
    same = setting("tiny", "training.batch=7", "losses.mel=2", "quantizer.dead=0.5")
    trainer.checkpoint(plan).require(same, tmp_path)


def goes_on(cache, tmp_path, stop, *changes):
    """Whether stopping after `stop` of 6 steps makes any difference."""
    expected = state_of(*trained(cache, 6, *changes))
    first, plan = trained(cache, stop, *changes)
    path = tmp_path / "checkpoint.pt"
    first.checkpoint(plan).save(path)
    loaded = Checkpoint.load(path)
    torch.manual_seed(12345)  # another process has another state
    second, plan = trainer_of(cache, *changes), Plan(**loaded.plan)
    second.restore(loaded)
    for _ in range(6 - stop):
        second.train_step(plan)
    assert_equal(state_of(second, plan), expected)


ALL_ON = [f"augment.{name}=1" for name in ("equalise", "band_limit", "talkers", "clip")]


def test_a_run_goes_on_where_it_stopped(cache, tmp_path):
    # with everything that chance decides: disturbances, augmentation, entries to replace
    goes_on(cache, tmp_path, 3, "training.unquantized=1", "robustness.item=1.0",
            "quantizer.dead=0.9", *ALL_ON)


@pytest.mark.slow
def test_a_run_with_discriminators_goes_on_where_it_stopped(cache, tmp_path):
    goes_on(cache, tmp_path, 3, "training.unquantized=1", "training.adversarial_from=0.1")


@pytest.mark.parametrize("stop", [2, 4])
def test_a_run_goes_on_where_it_stopped_before_its_codebooks_start(stop, cache, tmp_path):
    goes_on(cache, tmp_path, stop, "training.unquantized=4")
