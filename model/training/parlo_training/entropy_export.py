"""`entropy-export`: puts a trained entropy model, in integers, into a bundle."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save

from .bundle import MANIFEST, BundleCodec, with_tokens
from .entropy import EntropyConfig, EntropyModel
from .entropy_data import known, load, split
from .entropy_integer import Integers, write
from .errors import UserError

FILE = "entropy.safetensors"
LARGEST = 2 << 20
TOLERANCE_PCT = 1.0


def load_state(path: Path) -> EntropyModel:
    """The model that `entropy-train` wrote. Raises UserError if the file is something else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model = EntropyModel(EntropyConfig(**state["config"]))
        model.load_state_dict(state["model"])
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:
        raise UserError(f"{path} is no state of this version's entropy model: {error}") from error
    return model.eval()


def tables(model: EntropyModel) -> np.ndarray:
    """How often each code is used, whatever came before: uint16 [K, entries], of 65536 in all."""
    shares = model.frequencies.double().exp().numpy()
    counts = 1 + np.floor(shares * (65536 - shares.shape[1])).astype(np.int64)
    counts[np.arange(len(counts)), counts.argmax(1)] += 65536 - counts.sum(1)
    return counts.astype(np.uint16)


def with_entropy(manifest: str, content: bytes) -> str:
    """The manifest's text with the entropy model named in it, in place of one that was."""
    kept, skipping = [], False
    for line in manifest.splitlines():
        if line.startswith("["):
            skipping = line == "[entropy]"
            if line == "[files]":
                kept += ["[entropy]", 'kind = "transformer"', f'file = "{FILE}"', ""]
        if not skipping and not line.startswith(f'"{FILE}" ='):
            kept.append(line)
    digest = hashlib.sha256(content).hexdigest()
    kept.append(f'"{FILE}" = {{ bytes = {len(content)}, sha256 = "{digest}" }}')
    files = kept.index("[files]") + 1
    return "\n".join(kept[:files] + sorted(kept[files:])) + "\n"


@torch.no_grad()
def losses(model: EntropyModel, integers: Integers, codes: np.ndarray) -> tuple[float, float]:
    """Bits that codes [T, depth] take as a file: by the integers, and by the model in floats."""
    may = known("file", len(codes))
    exact = float(integers.bits(codes, may).sum())
    model.rounding.on = False
    tensor = torch.from_numpy(codes.astype(np.int64))[None]
    found = model.bits(tensor, torch.tensor([codes.shape[1]]), torch.from_numpy(may)[None, None])
    return exact, float(sum(bits.sum() for _, bits in found.values()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `entropy-export`."""
    parser.add_argument("state", type=Path, help="entropy.pt, which `entropy-train` wrote")
    parser.add_argument("--bundle", type=Path, required=True, help="the folder to put it into")
    parser.add_argument("--tokens", type=Path, help="a cache of tokens, to check the integers by")
    parser.add_argument("--tables", type=Path,
                        help="also write how often each code is used, to be measured beside")


def run(args: argparse.Namespace) -> int:
    """Writes the integers and the manifest; each file appears whole or not at all."""
    model = load_state(args.state)
    bundle = BundleCodec(args.bundle)
    own = model.own
    if bundle.sizes != [own.entries] * own.books:
        raise UserError(f"{args.state} models {own.books} codebooks of {own.entries} entries, and "
                        f"{args.bundle} has {bundle.sizes}")
    with tempfile.TemporaryDirectory(dir=args.bundle, prefix=".") as folder:
        part = Path(folder) / FILE
        write(model, part)
        content = part.read_bytes()
        if len(content) > LARGEST:
            raise UserError(f"the model has {len(content)} bytes, more than {LARGEST}: nothing was "
                            "written. Train a smaller network")
        if args.tokens:
            _, apart = split(load(args.tokens, 1), 0.04, seed=7)
            integers = Integers(part)
            bits = [losses(model, integers, run.codes[6][:250]) for run in apart[::8]]
            exact, floats = np.sum(bits, axis=0)
            loss = 100 * (exact / floats - 1)
            print(f"integers take {loss:+.2f} % more bits than floats", file=sys.stderr)
            if loss > TOLERANCE_PCT:
                raise UserError(f"that is more than {TOLERANCE_PCT} %: train on with rounding")
        text = with_entropy((args.bundle / MANIFEST).read_text(encoding="utf-8"), content)
        text = with_tokens(text)  # the entropy model is part of what both sides must share
        manifest = Path(folder) / MANIFEST
        manifest.write_text(text, encoding="utf-8")
        os.replace(part, args.bundle / FILE)
        os.replace(manifest, args.bundle / MANIFEST)
    if args.tables:
        args.tables.write_bytes(save({"tables": tables(model)}))
    print(f"{args.bundle}: {FILE}, {len(content) / 2**20:.2f} MiB", file=sys.stderr)
    return 0
