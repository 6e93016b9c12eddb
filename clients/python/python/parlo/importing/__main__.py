"""`python -m parlo.importing`: what `parlo import` runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import ARCHITECTURES, ImportFailure, Options, convert


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="parlo import", description="Make a bundle of another codec's checkpoint.")
    parser.add_argument("path", type=Path, metavar="PATH",
                        help="folder with config.json and model.safetensors, or with encoder.onnx "
                        "and decoder.onnx")
    parser.add_argument("--from", dest="codec", required=True, choices=ARCHITECTURES,
                        help="which codec it is")
    parser.add_argument("--out", type=Path, help="the bundle's folder; by default the name, here")
    parser.add_argument("--name", help="the bundle's name; by default that of --out, or of PATH")
    parser.add_argument("--licence", help="of the weights: an SPDX expression")
    parser.add_argument("--revision", help="which version of the weights it is")
    parser.add_argument("--start", choices=("trained", "zeros"), default="trained",
                        help="what a stream starts from: what the model was trained with, or "
                        "zeros, with which more models stream")
    parser.add_argument("--books", type=int, help="keep this many codebooks; by default all, 32 at "
                        "most")
    parser.add_argument("--sample-rate", type=int, metavar="HZ",
                        help="of ONNX files that have no config.json beside them")
    parser.add_argument("--codebook-size", type=int, metavar="N",
                        help="entries of a codebook, of ONNX files that do not show it")
    parser.add_argument("--no-compare", action="store_true",
                        help="do not compare the bundle with what transformers makes")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is there")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs it; the exit status."""
    args = parser().parse_args(arguments)
    name = args.name or (args.out or args.path).absolute().name
    out = args.out or Path(name)
    try:
        convert(args.codec, args.path, out, name=name, licence=args.licence,
                revision=args.revision, compare=not args.no_compare, force=args.force,
                options=Options(args.start, args.books, args.sample_rate, args.codebook_size),
                say=lambda line: print(line, file=sys.stderr))
    except ImportFailure as error:
        print(f"parlo import: {error}", file=sys.stderr)
        return 1
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
