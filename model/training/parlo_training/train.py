"""Training: one loop, for a budget of minutes or steps, resumable to the step."""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .checkpoint import Checkpoint
from .codec import Codec
from .config import Config
from .data import Batch, Corpus
from .discriminators import (
    Discriminators,
    discriminator_loss,
    feature_matching,
    generator_loss,
    win_rates,
)
from .errors import UserError
from .latents import Layout
from .losses import SpectralLoss, aperiodic, phase_loss, pitch_loss

LOG_EVERY = 50  # steps
LEAST_WINS, MOST_WINS = 0.6, 0.8  # between which the discriminators' win rate is kept
WAIT_FOR_ROOM = 600.0  # seconds that a finished run waits for a full disk
LOGGED = (  # columns of log.csv after the step and the minutes; empty where a run has no such term
    "spectral", "apart", "spread_share", "pitch", "commitment", "pitch_right", "phase", "voiced",
    "adversarial", "features", "discriminator", "wins", "trust",
    *(f"win_{number}" for number in range(6)),
    "norm", "total", "audio_per_second", "perplexity_1", "perplexity_12",
)


@dataclass
class Plan:
    """A budget, and how much of it is spent; the learning rate follows from the share."""

    minutes: float  # 0: counted in steps
    steps: int  # 0: counted in minutes
    spent_seconds: float = 0.0
    spent_steps: int = 0

    def share(self) -> float:
        """Of the budget that is spent, 0..1."""
        if self.steps:
            return min(1.0, self.spent_steps / self.steps)
        return min(1.0, self.spent_seconds / (60 * self.minutes))

    def rate(self, config: Config) -> float:
        """Learning rate relative to its peak: up, level, and in a line to zero at the end."""
        training = config.training
        up = min(1.0, (self.spent_steps + 1) / max(1, training.warmup))
        return min(up, min(1.0, (1 - self.share()) / max(training.decay_share, 1e-6)))


class Trainer:
    """A model, what trains it, and the state that a checkpoint keeps."""

    def __init__(self, config: Config, corpus: Corpus, device: torch.device):
        self.config, self.corpus, self.device = config, corpus, device
        training = config.training
        torch.manual_seed(training.seed)
        self.draws = torch.Generator().manual_seed(training.seed)  # crops, augmentation, depths
        self.noise = torch.Generator(device).manual_seed(training.seed + 1)
        self.codec = Codec(config).to(device)
        self.average = {name: v.detach().clone() for name, v in self.codec.state_dict().items()}
        self.loss = SpectralLoss(config.losses, config.audio.rate).to(device)
        self.decoder_only = training.only == "decoder"
        self.codebooks_learn = training.only == ""
        self.trained = list((self.codec.decoder if self.decoder_only else self.codec).parameters())
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=training.rate, betas=training.betas,
            weight_decay=training.weight_decay, fused=True,
        )
        self.adversary: Discriminators | None = None
        self.adversary_optimizer: torch.optim.Optimizer | None = None
        self.judged, self.wins = 0, 0.5  # steps of the discriminators; their lasting win rate
        self.step, self.seconds, self.started = 0, 0.0, False
        self.seen: list[Tensor] = []  # latents for the codebooks' first state
        self.encode: nn.Module = self.codec.encoder
        self.decode = self.codec.decoder.draw
        if training.compile:
            self.encode = torch.compile(self.encode)
            self.decode = torch.compile(self.decode)

    # ------------------------------------------------------------------ one step

    def train_step(self, plan: Plan) -> dict[str, Tensor]:
        """One batch: forward, backward, update. Returns the loss terms, on the device."""
        config = self.config
        batch = self.corpus.draw(self.draws)
        rate = plan.rate(config)
        for group in self.optimizer.param_groups:
            group["lr"] = config.training.rate * rate
        adversarial = plan.share() >= config.training.adversarial_from
        alone = adversarial and self.judged < config.training.adversarial_warmup
        with torch.no_grad() if alone else contextlib.nullcontext():
            made, target, weight, terms = self._reconstruct(batch)
        if adversarial:
            terms |= self._teach(made, target, rate)
        if not alone:
            terms |= self._learn(made, target, weight, terms, adversarial)
            self._follow()
        self.step += 1
        plan.spent_steps += 1
        return {name: value.detach() for name, value in terms.items()}

    def _learn(
        self, made: Tensor, target: Tensor, weight: Tensor, terms: dict[str, Tensor],
        adversarial: bool,
    ) -> dict[str, Tensor]:
        """Gradients and an update of the codec."""
        config = self.config
        weights = {"pitch": config.losses.pitch, "phase": config.losses.phase,
                   "voiced": config.losses.voiced, "commitment": config.quantizer.commitment}
        others = sum(weights[name] * value for name, value in terms.items() if name in weights)
        total = terms["spectral"] + others
        more = {}
        if adversarial:
            # balanced where the two meet, at the waveform: neither drowns the other
            (wanted,) = torch.autograd.grad(terms["spectral"], made, retain_graph=True)
            found, more = self._found_out(made, target, weight)
            size = config.losses.adversarial * wanted.norm() / found.norm().clamp(min=1e-12)
            parts, slopes = [made], [wanted + found * size * more["trust"]]
            if not self.decoder_only:
                parts, slopes = [*parts, others], [*slopes, None]
            torch.autograd.backward(parts, slopes)
        else:
            total.backward()
        norm = nn.utils.clip_grad_norm_(self.trained, config.training.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return more | {"norm": norm, "total": total}

    def _precision(self):
        if not self.config.training.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _reconstruct(
        self, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Through the codec: audio [draws, B, samples], its target [B, samples], how much each item
        counts [B], the terms."""
        config, codec = self.config, self.codec
        fixed = torch.no_grad() if self.decoder_only else contextlib.nullcontext()
        with fixed, self._precision():
            latent, scores = self.encode(batch.input)
        latent = latent.float()
        through, depth, commitment = self._quantize(latent)
        follow = float(torch.rand((), generator=self.draws)) < config.training.follow
        draws = {"draws": config.losses.draws}
        if follow:
            draws["track"] = batch.track
        with self._precision():
            made = self.decode(through, depth, self.noise, **draws)
        delay = codec.delay
        made, target = made[..., delay:], batch.target[:, :-delay]
        # what a few codebooks cannot say should not drown what many can
        weight = (depth.float().mean(1) / 6).clamp(config.training.shallow, 1.0)
        rest = None
        if config.losses.aperiodic:
            voiced = (batch.pitch > 0) & batch.pitch_known[:, None]
            rest = aperiodic(batch.target, batch.track, voiced)[:, :-delay]
            rest = rest * ~batch.tones[:, None]  # there is no noise in those
        spectral = self.loss(made, target, weight, self._phases_count(depth, follow), rest)
        terms = {"spectral": spectral.loss, "apart": spectral.apart}
        if config.losses.draws == 2:
            # near 1 where noise is noise; towards 0 where the decoder has switched it off
            terms["spread_share"] = spectral.spread / spectral.apart
        if not self.decoder_only:
            pitch, right = pitch_loss(scores["pitch"], batch.pitch, batch.pitch_known)
            terms |= {"pitch": pitch, "commitment": commitment, "pitch_right": right}
            if "phase" in scores:
                terms |= self._voice_terms(scores, batch)
        return made, target, weight, terms

    def _phases_count(self, depth: Tensor, follow: bool) -> Tensor | None:
        """By how much phases count for each item [B]: wholly where pulses follow the target's own,
        else as far as its codes tell the phase."""
        own = self.config.quantizer
        if follow:
            return torch.ones(len(depth), device=self.device)
        if not own.phase_scale:
            return None
        told = depth.float().mean(1) - own.phase_from
        return (told / (own.stages - own.phase_from)).clamp(0, 1)

    def _voice_terms(self, scores: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The terms of the encoder's heads for phase and voicing."""
        known = batch.pitch_known[:, None].float()
        voiced = (batch.pitch > 0).float()
        labelled = (batch.pitch != 0).float() * known
        cycles = batch.track[:, 4::4]  # in the middles of the frames
        voicing = nn.functional.binary_cross_entropy_with_logits(
            scores["voiced"].squeeze(-1), voiced, labelled, reduction="sum"
        ) / labelled.sum().clamp(min=1)
        return {"phase": phase_loss(scores["phase"], cycles, voiced * known), "voiced": voicing}

    def _quantize(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents [B, T, D] -> what the decoder gets of them, with losses as streams have them;
        codebooks in use [B, T]; the commitment loss."""
        config, codec = self.config, self.codec
        if self.step < config.training.unquantized and self.codebooks_learn:
            self.seen = [*self.seen[-63:], latent.detach().reshape(-1, latent.shape[-1])]
            depth = torch.full(latent.shape[:2], config.quantizer.stages, device=self.device)
            return latent, depth, latent.new_zeros(())
        if not self.started:
            now = latent.detach().reshape(-1, latent.shape[-1])
            codec.quantizer.start(torch.cat([*self.seen, now]))
            self.seen, self.started = [], True
        depth, source, other = self._disturb(*latent.shape[:2])
        noisy = latent.detach() + config.robustness.latent_noise * torch.randn(
            latent.shape, generator=self.noise, device=self.device
        )
        quantized, _ = codec.quantizer.quantize(noisy, depth, learn=self.codebooks_learn)
        # pitch, level and phase are in scales of their own, and have losses of their own
        told = Layout(config.quantizer).told
        commitment = (latent - quantized)[..., told:].square().mean(-1)
        commitment = (commitment * (depth > 0)).mean()
        through = latent + (quantized - latent).detach()
        through = torch.where(other, through.roll(1, 0), through)
        through = through.gather(1, source.unsqueeze(-1).expand_as(through))
        return through, depth.gather(1, source), commitment

    def _disturb(self, batch: int, time: int) -> tuple[Tensor, Tensor, Tensor]:
        """Codebooks per frame [B, T], each frame's source in time [B, T], and where the codes are
        of another item [B, T, 1]: what losses and coarse copies do to a stream."""
        own, stages, draws = self.config.robustness, self.config.quantizer.stages, self.draws
        depth = torch.randint(1, stages + 1, (batch, 1), generator=draws)
        training = self.config.training
        favoured = torch.tensor(training.depths).clamp(max=stages)
        choice = torch.randint(len(favoured), (batch, 1), generator=draws)
        favour = torch.rand(batch, 1, generator=draws) < training.depths_share
        depth = torch.where(favour, favoured[choice], depth).expand(batch, time).clone()
        chance = torch.rand(3, batch, time, generator=draws)
        hit = torch.rand(batch, 1, generator=draws) < own.item
        coarse = torch.randint(1, 4, (batch, 1), generator=draws)
        depth = torch.where(hit & (chance[0] < own.coarse), torch.minimum(depth, coarse), depth)
        index = torch.arange(time).expand(batch, time)
        kept = torch.where(hit & (chance[1] < own.repeat) & (index > 0), 0, index)
        source = kept.cummax(1).values
        other = hit & (chance[2] < own.substitute)
        return tuple(x.to(self.device) for x in (depth, source, other.unsqueeze(-1)))

    def _teach(self, made: Tensor, target: Tensor, rate: float) -> dict[str, Tensor]:
        """A step of the discriminators; none while they win too easily."""
        training = self.config.training
        if self.adversary is None:
            self._make_adversary()
        items = training.adversarial_items or len(target)
        made, target = made[self.step % len(made)][:items].detach(), target[:items]
        for group in self.adversary_optimizer.param_groups:
            group["lr"] = training.discriminator_rate * rate
        with self._precision():
            real, fake = self.adversary(target), self.adversary(made)
            loss = discriminator_loss(real, fake)
        rates = win_rates(real, fake)
        self.wins = 0.98 * self.wins + 0.02 * float(rates.mean())
        self.judged += 1
        if self.judged <= training.adversarial_warmup or self.wins < MOST_WINS:
            loss.backward()
            self.adversary_optimizer.step()
            self.adversary_optimizer.zero_grad(set_to_none=True)
        names = {f"win_{number}": value for number, value in enumerate(rates)}
        return {"discriminator": loss, "wins": rates.mean()} | names

    def _found_out(
        self, made: Tensor, target: Tensor, weight: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The gradient [draws, B, samples] of being found out by the discriminators, and terms."""
        training = self.config.training
        items = training.adversarial_items or len(target)
        draw = (self.step + 1) % len(made)
        heard = made[draw, :items].detach().requires_grad_()
        for parameter in self.adversary.parameters():
            parameter.requires_grad_(False)
        with self._precision():
            with torch.no_grad():
                real = self.adversary(target[:items])
            fake = self.adversary(heard)
            features = feature_matching(real, fake)
            loss = generator_loss(fake, weight[:items])
        (gradient,) = torch.autograd.grad(loss + self.config.losses.features * features, heard)
        for parameter in self.adversary.parameters():
            parameter.requires_grad_(True)
        whole = torch.zeros_like(made)
        whole[draw, :items] = gradient
        # judges that hardly tell the two apart have nothing to say
        trust = min(1.0, max(0.0, (self.wins - 0.5) / (LEAST_WINS - 0.5)))
        return whole, {"adversarial": loss, "features": features, "trust": torch.tensor(trust)}

    def _make_adversary(self) -> None:
        config = self.config
        self.adversary = Discriminators(
            config.audio.rate, width=config.training.discriminator_width
        ).to(self.device)
        self.adversary_optimizer = torch.optim.AdamW(
            self.adversary.parameters(), lr=config.training.discriminator_rate,
            betas=(0.5, 0.9), fused=True,
        )

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the average towards the weights; codebooks, averages already, are copied."""
        decay = min(self.config.training.average, (1 + self.step) / (10 + self.step))
        pairs = [(self.average[n], p.detach()) for n, p in self.codec.named_parameters()]
        torch._foreach_lerp_([a for a, _ in pairs], [p for _, p in pairs], 1 - decay)
        for name, buffer in self.codec.quantizer.state_dict().items():
            self.average[f"quantizer.{name}"].copy_(buffer)

    # ------------------------------------------------------------------ checkpoints

    def checkpoint(self, plan: Plan) -> Checkpoint:
        """The run as it is now."""
        adversary = None
        if self.adversary is not None:
            adversary = {"model": self.adversary.state_dict(),
                         "optimizer": self.adversary_optimizer.state_dict(),
                         "judged": self.judged, "wins": self.wins}
        random = {"draws": self.draws.get_state(), "noise": self.noise.get_state(),
                  "torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        notes = {"hours": self.corpus.hours, "speakers": self.corpus.speakers,
                 "hardware": hardware(self.device)}
        return Checkpoint(
            self.config, self.step, self.seconds, self.codec.state_dict(), self.average,
            self.optimizer.state_dict(), adversary, random, vars(plan), notes, list(self.seen),
            self.started,
        )

    def keep_tokens(self, checkpoint: Checkpoint) -> None:
        """Begins with the checkpoint's encoder and codebooks, and leaves the decoder as it is."""
        for part in ("encoder", "quantizer"):
            own = getattr(self.codec, part).state_dict()
            for name in own:
                value = checkpoint.average[f"{part}.{name}"]
                own[name].copy_(value)
                self.average[f"{part}.{name}"].copy_(value)
        self.started = True

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes on where the checkpoint was made. Without optimizer state, that starts afresh."""
        self.codec.load_state_dict(checkpoint.model)
        for name, value in checkpoint.average.items():
            self.average[name].copy_(value)
        self.step, self.seconds = checkpoint.step, checkpoint.seconds
        self.started = checkpoint.started
        self.seen = [latents.to(self.device) for latents in checkpoint.seen]
        if checkpoint.optimizer is not None:
            self.optimizer.load_state_dict(checkpoint.optimizer)
        if checkpoint.adversary is not None:
            self._make_adversary()
            self.adversary.load_state_dict(checkpoint.adversary["model"])
            self.adversary_optimizer.load_state_dict(checkpoint.adversary["optimizer"])
            self.judged, self.wins = (checkpoint.adversary[name] for name in ("judged", "wins"))
        if checkpoint.random:
            self.draws.set_state(checkpoint.random["draws"])
            torch.set_rng_state(checkpoint.random["torch"])
            if "cuda" in checkpoint.random and self.device.type == "cuda":
                torch.cuda.set_rng_state(checkpoint.random["cuda"], self.device)
            if checkpoint.random["noise"].shape == self.noise.get_state().shape:
                self.noise.set_state(checkpoint.random["noise"])


def hardware(device: torch.device) -> str:
    """What trains, in words for the model card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = "CPU"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {torch.get_num_threads()} thread(s)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `train`."""
    parser.add_argument("--config", type=Path,
                        help="TOML; without it, the checkpoint's or defaults")
    parser.add_argument("--cache", type=Path, required=True, help="a folder that `prepare` made")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--minutes", type=float, default=0, help="budget of this run")
    parser.add_argument("--steps", type=int, default=0, help="budget in steps instead")
    parser.add_argument("--from", dest="start", type=Path,
                        help="begin with this checkpoint's weights")
    parser.add_argument("--tokens", type=Path, metavar="CHECKPOINT",
                        help="keep this checkpoint's encoder and codebooks; train a decoder only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save-every", type=float, default=5, help="minutes between checkpoints")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.NAME=VALUE",
                        help="change one setting of the configuration (a TOML value)")


def override(config: Config, settings: list[str]) -> Config:
    """The configuration with `table.name=value` changes.

    Raises UserError where one is not valid.
    """
    import tomllib

    values = config.to_dict()
    for setting in settings:
        try:
            changed = tomllib.loads(setting)
            ((table, inner),) = changed.items()
            values.setdefault(table, {}).update(inner)
        except (tomllib.TOMLDecodeError, AttributeError, TypeError, ValueError) as error:
            raise UserError(f"--set {setting}: must be like training.batch=4") from error
    return Config.from_dict(values, "--set")


def run(args: argparse.Namespace) -> int:
    """Trains. A finished run in `--out` is gone on with from its checkpoint."""
    if (args.minutes > 0) == (args.steps > 0):
        raise UserError("give the budget: either --minutes or --steps")
    path = args.out / "checkpoint.pt"
    tokens = Checkpoint.load(args.tokens) if args.tokens else None
    checkpoint = None
    if path.exists():
        checkpoint = Checkpoint.load(path)
    elif args.start:
        # its weights alone: a new run has draws of its own, by its own seed
        checkpoint = replace(
            Checkpoint.load(args.start, tokens), optimizer=None, adversary=None, random={}, plan={}
        )
    config = Config.load(args.config) if args.config else None
    config = config or (checkpoint.config if checkpoint else Config())
    if tokens:
        kept = {name: getattr(tokens.config, name) for name in ("audio", "encoder", "quantizer")}
        only = config.training.only or "decoder"
        config = replace(config, **kept, training=replace(config.training, only=only))
    config = override(config, args.set)
    if tokens:
        tokens.require(replace(config, decoder=tokens.config.decoder), args.tokens)
    if config.training.only and not (tokens or checkpoint):
        raise UserError(f"training.only = \"{config.training.only}\" needs --tokens CHECKPOINT: the "
                        "codebooks, and the encoder to begin with")
    if checkpoint:
        checkpoint.require(config, path if path.exists() else args.start)
    try:
        device = torch.device(args.device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"--device {args.device} cannot be used: {why}") from error
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    torch.set_float32_matmul_precision("high")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {args.out}: {error.strerror}") from error
    trainer = Trainer(config, Corpus(args.cache, config, device), device)
    plan = Plan(args.minutes, args.steps)
    if tokens:
        trainer.keep_tokens(tokens)
    if checkpoint:
        trainer.restore(checkpoint)
        before = Plan(**checkpoint.plan) if checkpoint.plan else None
        same = before and (before.minutes, before.steps) == (plan.minutes, plan.steps)
        if same and before.share() < 1:
            plan = before  # a run that was stopped: the rest of its budget
    loop(trainer, plan, args.out, args.save_every)
    return 0


def _require_number(trainer: Trainer, out: Path, loss: float = 0.0) -> None:
    """Raises UserError if the loss or a weight is not finite, before it replaces a
    good one."""
    weights = torch.stack([value.detach().abs().max() for value in trainer.codec.parameters()])
    if not math.isfinite(loss) or not math.isfinite(float(weights.max())):
        raise UserError(f"the loss is not a number at step {trainer.step}; the last checkpoint in "
                        f"{out} is from before. Try a lower training.rate")


def _save_at_last(checkpoint: Checkpoint, path: Path) -> None:
    """Saves what a run was for; on a full disk, waits for a person to make room.

    Raises UserError if there is none after WAIT_FOR_ROOM seconds.
    """
    until = time.monotonic() + WAIT_FOR_ROOM
    told = False
    while True:
        try:
            return checkpoint.save(path)
        except UserError as error:
            if time.monotonic() >= until:
                raise
            if not told:
                print(f"{error}; trying again for {WAIT_FOR_ROOM / 60:.0f} minutes: make room, and "
                      "nothing is lost", file=sys.stderr)
            told = True
            time.sleep(min(5.0, WAIT_FOR_ROOM))


def loop(trainer: Trainer, plan: Plan, out: Path, save_every: float) -> None:
    """Steps until the plan's budget is spent, with a log and checkpoints in `out`."""
    import tomli_w
    from torch.utils.tensorboard import SummaryWriter

    (out / "config.toml").write_text(tomli_w.dumps(trainer.config.to_dict()))
    writer = SummaryWriter(str(out / "log"))
    stop = []
    previous = {
        number: signal.signal(number, lambda *_: stop.append(True))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    sums: dict[str, tuple[Tensor, int]] = {}
    size = trainer.config.training.batch * trainer.config.training.seconds
    bar = tqdm(total=100.0, unit="%", bar_format="{l_bar}{bar}| {postfix}", disable=None)
    last, saved, logged = time.monotonic(), time.monotonic(), time.monotonic()
    log = open(out / "log.csv", "a", buffering=1)
    try:
        while plan.share() < 1 and not stop:
            terms = trainer.train_step(plan)
            now = time.monotonic()
            trainer.seconds += now - last
            plan.spent_seconds += now - last
            last = now
            for name, value in terms.items():
                before, count = sums.get(name, (0, 0))
                sums[name] = (before + value, count + 1)
            if trainer.step % LOG_EVERY == 0:
                steps = max(count for _, count in sums.values())
                means = {name: float(value) / count for name, (value, count) in sums.items()}
                sums = {}
                _require_number(trainer, out, means.get("total", 0.0))
                perplexity = trainer.codec.quantizer.perplexity().tolist()
                means["audio_per_second"] = steps * size / max(now - logged, 1e-9)
                means["perplexity_1"], means["perplexity_12"] = perplexity[0], perplexity[-1]
                logged = now
                for name, value in means.items():
                    writer.add_scalar(name, value, trainer.step)
                for stage, value in enumerate(perplexity):
                    writer.add_scalar(f"perplexity/{stage + 1}", value, trainer.step)
                if log.tell() == 0:
                    log.write("step,minutes," + ",".join(LOGGED) + "\n")
                values = (f"{means[name]:.4g}" if name in means else "" for name in LOGGED)
                log.write(f"{trainer.step},{trainer.seconds / 60:.2f}," + ",".join(values) + "\n")
                bar.n = round(100 * plan.share(), 1)
                bar.set_postfix_str(f"step {trainer.step}, spectral {means['spectral']:.3f}, "
                                    f"{means['audio_per_second']:.0f} x real time")
            if now - saved > 60 * save_every:
                _require_number(trainer, out)
                try:
                    trainer.checkpoint(plan).save(out / "checkpoint.pt")
                except UserError as error:  # a full disk, say: there may be room the next time
                    print(f"{error}; training goes on", file=sys.stderr)
                saved = time.monotonic()
                last = saved
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        bar.close()
        writer.close()
        log.close()
    _require_number(trainer, out)
    _save_at_last(trainer.checkpoint(plan), out / "checkpoint.pt")
    state = "stopped" if stop else "done"
    print(f"{state}: step {trainer.step}, {trainer.seconds / 60:.1f} minutes in all, "
          f"checkpoint in {out / 'checkpoint.pt'}", file=sys.stderr)
