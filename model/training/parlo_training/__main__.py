"""`python -m parlo_training COMMAND`: `prepare`, `train`, `export` ..."""

from __future__ import annotations

import argparse
import importlib
import sys

from .errors import UserError

COMMANDS = {
    "prepare": "decode folders of speech into a cache for training",
    "train": "train a model on a cache, or go on from a checkpoint",
    "tokens": "code a cache into token frames, for the entropy model",
    "entropy-train": "train the entropy model on a token cache",
    "entropy-export": "put a trained entropy model into a bundle",
    "conceal": "compare what to play for lost frames, on the held-out list",
    "export": "write a bundle from a checkpoint, and check it",
    "evaluate": "score a bundle on the held-out list, beside other codecs",
}


def module(command: str) -> str:
    """The module that runs a command."""
    return "." + command.replace("-", "_")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns the exit code: 0 done, 1 a defect, 2 something to mend."""
    parser = argparse.ArgumentParser(prog="parlo_training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # only the command that runs is loaded: torch takes seconds, and not all need it
    words = sys.argv[1:] if arguments is None else arguments
    chosen = next((word for word in words if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        own = commands.add_parser(
            name, help=text, description=text,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        if name == chosen:
            importlib.import_module(module(name), __package__).add_arguments(own)
    args = parser.parse_args(arguments)
    try:
        return importlib.import_module(module(args.command), __package__).run(args)
    except UserError as error:
        print(f"parlo_training {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
