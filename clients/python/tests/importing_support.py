"""What the tests of importing share: small random models of the real classes, and how to run them.

The package is taken from the source tree, without the compiled part, which importing does not need.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np

PACKAGE = Path(__file__).resolve().parent.parent / "python" / "parlo"

try:
    parlo = importlib.import_module("parlo")
except ImportError:
    parlo = sys.modules["parlo"] = types.ModuleType("parlo")
    parlo.__path__ = []
if importlib.util.find_spec("parlo.importing") is None:
    parlo.__path__.append(str(PACKAGE))


def encodec(folder: Path, **changes) -> Path:
    """A small EnCodec with three codebooks of 64 entries and frames of 40 samples."""
    from transformers import EncodecConfig, EncodecModel

    settings = dict(
        num_filters=4, hidden_size=16, upsampling_ratios=[5, 4, 2], num_residual_layers=2,
        target_bandwidths=[3.6, 10.8], codebook_size=64, num_lstm_layers=2, pad_mode="constant")
    model = _model(EncodecModel, EncodecConfig(**settings | changes))
    _louder(model.encoder.layers[0], 8)
    _louder(model.decoder.layers[-1], 3)
    layers = [layer.codebook for layer in model.quantizer.layers]
    latents = model.encoder(_audio(model.config))
    for book, entries in zip(layers, _entries(latents, len(layers))):
        book.embed.copy_(entries)
    model.save_pretrained(folder)
    return folder


def mimi(folder: Path, **changes) -> Path:
    """A small Mimi with one semantic and three acoustic codebooks and frames of 80 samples."""
    from transformers import MimiConfig, MimiModel

    settings = dict(
        num_filters=4, hidden_size=16, upsampling_ratios=[5, 4, 2], num_quantizers=4,
        codebook_size=32, codebook_dim=8, vector_quantization_hidden_dimension=8,
        num_hidden_layers=2, intermediate_size=32, num_attention_heads=4, num_key_value_heads=2,
        upsample_groups=16, sliding_window=7, layer_scale_initial_scale=0.7)
    model = _model(MimiModel, MimiConfig(**settings | changes))
    import torch

    _louder(model.encoder.encoder_seanet.layers[0], 3)
    _louder(model.decoder.decoder_seanet.layers[-1], 0.5)
    for part in (model.quantizer.semantic_residual_vector_quantizer,
                 model.quantizer.acoustic_residual_vector_quantizer):
        latents = model.encoder(_audio(model.config)).latents
        if part.input_proj is not None:
            latents = part.input_proj(latents)
        for layer, entries in zip(part.layers, _entries(latents, len(part.layers), 32)):
            usage = 1 + 2 * torch.rand(len(entries))
            layer.codebook.cluster_usage.copy_(usage)
            layer.codebook.embed_sum.copy_(entries * usage[:, None])
    model.save_pretrained(folder)
    return folder


def dac(folder: Path, **changes) -> Path:
    """A small DAC with three codebooks of 32 entries and frames of 20 samples."""
    from transformers import DacConfig, DacModel

    settings = dict(encoder_hidden_size=4, downsampling_ratios=[2, 5, 2], decoder_hidden_size=16,
                    n_codebooks=3, codebook_size=32, codebook_dim=4)
    model = _model(DacModel, DacConfig(**settings | changes))
    _louder(model.encoder.conv1, 4)
    _louder(model.decoder.conv2, 0.3)
    for name, module in model.named_modules():
        if "res_unit" in name and name.endswith("conv2"):
            _louder(module, 0.2)
    rest = model.encoder(_audio(model.config))
    for layer in model.quantizer.quantizers:
        inner = layer.in_proj(rest)[0].T
        layer.codebook.weight.copy_(_picked(inner, 32))
        rest = rest - layer(rest)[0]
    model.save_pretrained(folder)
    return folder


def _model(kind, config):
    """Random weights, none of which is as a layer begins: a scale of 1 hides that it is lost."""
    import torch

    torch.manual_seed(11)
    torch.set_grad_enabled(False)
    model = kind(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
    for parameter in model.parameters():
        parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
        parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def _louder(layer, factor: float):
    """Scales what a convolution makes, but for its bias."""
    own = getattr(layer, "conv", layer)
    gain = getattr(own, "parametrizations", None)
    (own.weight if gain is None else gain.weight.original0).mul_(factor)


def _audio(config):
    import torch
    from parlo.importing.check import signal

    return torch.from_numpy(signal(config.sampling_rate, 320)[None, None])


def _entries(latents, books: int, size: int = 64):
    """Codebooks of latents and of what the books before left: [entries, dimension] each."""
    import torch

    rest = latents[0].T
    for _ in range(books):
        entries = _picked(rest, size)
        rest = rest - entries[torch.cdist(rest, entries).argmin(1)]
        yield entries


def _picked(rows, size: int):
    import torch

    picked = rows[torch.randint(len(rows), (size,))]
    return picked + 0.3 * rows.std() * torch.randn_like(picked)


def audio(rate: int, frame: int, frames: int, seed: int = 5) -> np.ndarray:
    """Noise under a slow swell, and a silence: float32 [samples]."""
    random = np.random.default_rng(seed)
    n = np.arange(frames * frame)
    swell = np.sin(2 * np.pi * n / len(n) * 3) ** 2
    sound = 0.2 * swell * (random.normal(size=len(n)) * 0.5 + np.sin(n * 2 * np.pi * 220 / rate))
    sound[len(n) // 2: len(n) // 2 + 3 * frame] = 0
    return sound.astype(np.float32)
