"""`entropy-train`: the entropy model, from a token cache; in floats, then rounding as integers do."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch

from .bundle import BundleCodec
from .entropy import EntropyConfig, EntropyModel
from .entropy_data import CONTEXTS, Batches, Run, known, load, split
from .errors import UserError
from .tokens import books_hash

SAVE_EVERY_S = 300
REPORT_EVERY = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `entropy-train`."""
    parser.add_argument("--tokens", type=Path, required=True, help="the cache that `tokens` wrote")
    parser.add_argument("--bundle", type=Path, required=True, help="whose codes they are")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--start", type=Path, help="a state to begin with, as `entropy.pt` is")
    parser.add_argument("--minutes", type=float, default=60.0, help="of wall time")
    parser.add_argument("--steps", type=int, default=0, help="in place of the time")
    parser.add_argument("--batch", type=int, default=8, help="crops in a step")
    parser.add_argument("--frames", type=int, default=288, help="frames in a crop")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--warmup", type=int, default=100, help="steps until the peak")
    parser.add_argument("--decay", type=float, default=0.6, help="last share, in which it falls")
    parser.add_argument("--rounded", type=float, default=0.35, help="last share, with rounding")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER",
                        help="a size of the network, such as width=160; repeatable")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch chooses")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn")


@torch.no_grad()
def measure(model: EntropyModel, runs: list[Run], depth: int, frames: int) -> dict[str, np.ndarray]:
    """Mean bits of each book's code by context, over the first frames of each run."""
    device = model.question.device
    found = {}
    for context in CONTEXTS:
        total, count = np.zeros(depth), 0
        for run in runs:
            codes = run.codes[depth][:frames].astype(np.int64)
            codes = torch.from_numpy(codes)[None].to(device)
            may = torch.from_numpy(known(context, codes.shape[1]))[None, None].to(device)
            bits = model.bits(codes, torch.tensor([depth], device=device), may)
            total += [float(bits[k][1].sum()) for k in range(depth)]
            count += codes.shape[1]
        found[context] = total / max(count, 1)
    return found


def optimizers(model: EntropyModel, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices (Jordan et al. 2024), Adam for the rest."""
    dense = [p for name, p in model.named_parameters() if name.endswith("weight")]
    ids = {id(p) for p in dense}
    rest = [p for p in model.parameters() if id(p) not in ids]
    return [
        torch.optim.Muon(dense, lr=10 * rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def sizes(words: list[str]) -> EntropyConfig:
    """The sizes of the network, some of them set. Raises UserError if there is no such size."""
    given = {}
    for word in words:
        name, _, number = word.partition("=")
        if name not in {field.name for field in fields(EntropyConfig)} or not number.isdecimal():
            raise UserError(f"--set {word}: this is no size of the network")
        given[name] = int(number)
    return EntropyConfig(**given)


def run(args: argparse.Namespace) -> int:
    """Trains, and writes `entropy.pt` and `entropy.jsonl` into the folder."""
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    torch.manual_seed(args.seed)
    bundle = BundleCodec(args.bundle)
    try:
        index = json.loads((args.tokens / "index.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{args.tokens} is no finished cache of tokens: run `tokens`") from error
    if index.get("codebooks") != books_hash(bundle):
        raise UserError(f"{args.tokens} holds tokens of other codebooks than {args.bundle}'s")
    learn, check = split(load(args.tokens), 0.04, seed=7)
    check = [r for r in check if len(r.codes[6]) >= 200]
    check = check[:: max(1, len(check) // 24)][:24]
    books = torch.from_numpy(np.stack(bundle.books))
    counts = np.stack(
        [
            sum(np.bincount(r.codes[12][:, k], minlength=books.shape[1]) for r in learn)
            for k in range(len(books))
        ]
    )
    own = sizes(args.set)
    model = EntropyModel(own, books, torch.from_numpy(counts))
    if args.start:
        state = torch.load(args.start, weights_only=True)
        model.load_state_dict(state["model"])
    model.to(device)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    batches = Batches(learn, args.batch, args.frames, args.seed)
    chosen = optimizers(model, args.rate)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in chosen]
    args.out.mkdir(parents=True, exist_ok=True)
    log = (args.out / "entropy.jsonl").open("a")
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters} parameters, {sum(len(r.codes[6]) for r in learn)} frames", flush=True)
    begun = saved = time.monotonic()
    losses: list[float] = []
    step = 0

    def keep() -> None:
        torch.save({"config": asdict(own), "model": average, "step": step}, args.out / "part.pt")
        (args.out / "part.pt").replace(args.out / "entropy.pt")

    while True:
        passed = (time.monotonic() - begun) / 60 / args.minutes
        share = step / args.steps if args.steps else passed
        if share >= 1:
            break
        falling = min(1.0, (1 - share) / args.decay)
        rate = min(1.0, (step + 1) / args.warmup) * max(falling, 0.02)
        for optimizer, peak in zip(chosen, peaks):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate
        model.rounding.on = share > 1 - args.rounded
        codes, depth, may = (tensor.to(device) for tensor in batches.draw())
        with torch.autocast(device.type, torch.bfloat16):
            bits = model.bits(codes, depth, may, list(range(own.modelled)))
        loss = sum(lost.sum() for _, lost in bits.values()) / (codes.shape[0] * codes.shape[1])
        for optimizer in chosen:
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20.0)
        for optimizer in chosen:
            optimizer.step()
        step += 1
        decay = min(0.998, step / (step + 50))
        for name, value in model.state_dict().items():
            average[name].lerp_(value, 1 - decay)
        losses.append(float(loss.detach()))
        if step % REPORT_EVERY == 0:
            line = {"step": step, "minutes": round((time.monotonic() - begun) / 60, 2)}
            line |= {"bits": round(float(np.mean(losses[-REPORT_EVERY:])), 3), "rate": rate}
            print(json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")
            log.flush()
        if time.monotonic() - saved > SAVE_EVERY_S:
            keep()
            saved = time.monotonic()
    keep()
    model.load_state_dict(average)
    for rounded in (True, False):
        model.rounding.on = rounded
        for depth in (6, 12):
            for context, bits in measure(model, check, depth, 512).items():
                line = {"rounded": rounded, "depth": depth, "context": context}
                line |= {"ratio": round(float(bits.sum()) / 10 / depth, 4)}
                line |= {"bits": [round(float(b), 2) for b in bits]}
                print(json.dumps(line), flush=True)
                log.write(json.dumps(line) + "\n")
    return 0
