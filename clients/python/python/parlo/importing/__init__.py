"""Other codecs as Parlo bundles: `parlo import`, or `python -m parlo.importing`.

`convert` reads a checkpoint and writes a bundle. See docs/importing.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from .errors import ImportFailure, need
from .options import Options

__all__ = ["ARCHITECTURES", "ImportFailure", "Options", "convert"]

ARCHITECTURES = ("encodec", "mimi", "dac", "snac", "wavtokenizer")


def convert(
    codec: str,
    path: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    licence: str | None = None,
    revision: str | None = None,
    options: Options = Options(),
    compare: bool = True,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Makes a bundle at `out` of the codec in the folder `path`; returns where it is.

    `codec` is one of `ARCHITECTURES`; `name` is the bundle's, by default its folder's; `licence`
    an SPDX expression, of the weights; `revision` which version of the weights it is, as you know
    it. With `compare` the bundle is compared with what transformers makes, if that is installed.
    `say` gets a line for each thing worth knowing. Raises ImportFailure, and then nothing is left
    behind.
    """
    for package in ("numpy", "onnx", "onnxruntime"):
        need(package, "importing a codec")
    from . import bundle, onnx_files
    from .check import check

    path, out = Path(path), Path(out)
    if codec not in ARCHITECTURES:
        raise ImportFailure(f"--from {codec} is unknown; known are {', '.join(ARCHITECTURES)}")
    if not path.is_dir():
        raise ImportFailure(f"{path} is not a folder")
    # a relative "." has no name
    name = name or out.absolute().name
    if not name or "/" in name or "\\" in name or not name.isprintable():
        raise ImportFailure(f"{name!r} cannot be a bundle's name")
    source = {} if revision is None else {"revision": revision}
    checkpoint = None
    if onnx_files.are_in(path):
        made = onnx_files.load(path, codec, options)
        source |= onnx_files.hashes(path)
    elif codec in ("snac", "wavtokenizer"):
        raise ImportFailure(f"{path} has no encoder.onnx and decoder.onnx, which {codec} is "
                            "imported from: transformers has no such model")
    else:
        from . import dac, encodec, mimi
        from .checkpoint import Weights

        made = {"encodec": encodec, "mimi": mimi, "dac": dac}[codec].load(path, options)
        source["weights_sha256"] = Weights(path).sha256()
        checkpoint = path if compare else None
    card = bundle.Card(name, codec, licence or bundle.NOT_STATED, source=source)
    with bundle.placed(out, force) as folder:
        bundle.write_graphs(made, folder)
        bundle.write_manifest(made, card, folder)
        say("trying it out")
        checked = check(made, folder, checkpoint, options)
        bundle.write_card(made, card, checked, folder)
    say(f"checked: {checked}")
    for note in made.notes:
        say(f"note: {note}")
    if made.whole:
        say(f"for files only, not for calls: {made.whole}")
    if licence is None:
        say("no licence stated: give --licence with the SPDX expression of the weights' licence")
    return out
