"""Writes a bundle: graphs, manifest, model card; first beside its place, then there at once."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

from .codec import Codec, Part
from .errors import ImportFailure

MANIFEST = "manifest.toml"
NOT_STATED = "NOASSERTION"  # SPDX: nobody said under which licence
LARGEST = 2**31 - 1  # bytes of one ONNX file


@dataclass(frozen=True)
class Card:
    """What the manifest and the model card say beside the graphs."""

    name: str
    codec: str  # as given to --from
    licence: str = NOT_STATED
    description: str = ""
    source: dict[str, str] = field(default_factory=dict)


@contextmanager
def placed(out: Path, force: bool) -> Iterator[Path]:
    """A folder to write into, which becomes `out` if all goes well, and else disappears.

    With `force` a bundle that is there is replaced; anything else never is.
    """
    out = out.absolute()
    if out.exists():
        if not force:
            raise ImportFailure(f"{out} is there already: name another place with --out, or give "
                                "--force to replace it")
        if not (out / MANIFEST).exists() and not (out.is_dir() and not any(out.iterdir())):
            raise ImportFailure(f"{out} is there already and is not a bundle: name another place "
                                "with --out")
    partial, old = (out.with_name(out.name + suffix) for suffix in (".partial", ".old"))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
            out.replace(old)
        try:
            partial.replace(out)
        except OSError:
            if old.exists():
                old.replace(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise ImportFailure(f"cannot write the bundle {out}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_graphs(codec: Codec, folder: Path):
    """Writes encoder.onnx and decoder.onnx."""
    for name, part in (("encoder", codec.encoder), ("decoder", codec.decoder)):
        model = part.graph.model()
        size = model.ByteSize()
        if size > LARGEST:
            raise ImportFailure(f"the {name}'s graph has {size} bytes, more than an ONNX file "
                                f"holds ({LARGEST})")
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def write_manifest(codec: Codec, card: Card, folder: Path):
    """Writes manifest.toml, with the lengths and hashes of the graphs in `folder`."""
    books = len(codec.sizes)
    lines = [
        "# A Parlo model bundle. The SHA-256 of this file is the bundle's identity; it covers all "
        "other files by their hashes.",
        "format = 1",
        f"name = {_quoted(card.name)}",
        f"description = {_quoted(card.description or _description(codec, card))}",
        f"licence = {_quoted(card.licence)}",
        "",
        "[audio]",
        f"sample_rate = {codec.sample_rate}",
        f"frame_samples = {codec.frame_samples}",
        "delay_samples = 0",
    ]
    if codec.whole:
        lines.append(f"whole = {_quoted(codec.whole)}")
    lines += ["", "[encoder]", 'file = "encoder.onnx"', _tensor("audio", codec.encoder.audio),
              _tensor("codes", codec.encoder.codes), *_states(codec.encoder)]
    lines += ["", "[quantizer]", 'kind = "graph"', f"sizes = {codec.sizes}"]
    lines += ["", "[decoder]", 'file = "decoder.onnx"', _tensor("codes", codec.decoder.codes),
              _tensor("in_use", (books,)), _tensor("audio", codec.decoder.audio),
              *_states(codec.decoder)]
    lines += ["", "[source]"]
    source = {"from": card.codec, "architecture": codec.architecture} | card.source
    lines += [f"{key} = {_quoted(value)}" for key, value in source.items()]
    lines += ["", "[files]"]
    for path in sorted(folder.glob("*.onnx")):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        lines.append(f'"{path.name}" = {{ bytes = {len(content)}, sha256 = "{digest}" }}')
    (folder / MANIFEST).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_card(codec: Codec, card: Card, checked: str, folder: Path):
    """Writes README.md, the model card."""
    rate = codec.sample_rate / codec.frame_samples
    bits = sum((size - 1).bit_length() for size in codec.sizes)
    milliseconds = 1000 * codec.frame_samples / codec.sample_rate
    if card.licence == NOT_STATED:
        licence = ("Nobody stated a licence when this bundle was made. The weights are under "
                   "whatever licence they came with; look it up before you pass them on.")
    else:
        licence = (f"{card.licence}, as stated by whoever made this bundle. It is the licence of "
                   "the weights, which Parlo's own does not change.")
    use = (f"Files only, not calls: {codec.whole}." if codec.whole else
           "Streams, one frame at a time: files, pipes, calls and feeds.")
    lines = [
        f"# {card.name}", "", f"{_description(codec, card)}, imported with `parlo import`.", "",
        "| what | value |", "| --- | --- |",
        f"| sample rate | {codec.sample_rate} Hz, mono |",
        f"| frame | {codec.frame_samples} samples ({milliseconds:.5g} ms), {rate:.5g} a second |",
        f"| codes of a frame | {len(codec.sizes)} (of {', '.join(map(str, codec.sizes))} values) |",
        f"| raw bitrate, all codes | {bits * rate / 1000:.4g} kbps |",
        f"| use | {use} |", f"| checked | {checked} |", "",
        "## Codes", "", codec.order, "",
    ]
    if codec.notes:
        lines += ["## Differences", "", *(f"- {note}" for note in codec.notes), ""]
    lines += ["## Licence", "", licence, "", "## Source", ""]
    source = {"from": card.codec, "architecture": codec.architecture} | card.source
    lines += [f"- {key}: {value}" for key, value in source.items()]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _description(codec: Codec, card: Card) -> str:
    return (f"{card.codec} ({codec.architecture}) at {codec.sample_rate} Hz, "
            f"{len(codec.sizes)} codes a frame")


def _tensor(key: str, shape: tuple[int, ...]) -> str:
    return f'{key} = {{ name = "{key}", shape = {list(shape)} }}'


def _states(part: Part) -> list[str]:
    if not part.graph.states:
        return []
    return ["states = [", *(
        f'    {{ input = "{state.input}", output = "{state.output}", '
        f"shape = {list(state.shape)} }}," for state in part.graph.states), "]"]


def _quoted(text: str) -> str:
    # a TOML string escapes what a JSON string does, and the delete character
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
