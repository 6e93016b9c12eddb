"""Mimi (Defossez et al., "Moshi: a speech-text foundation model for real-time dialogue", 2024)."""

from __future__ import annotations

import math
from pathlib import Path

from . import quantizer, seanet
from .checkpoint import Config, Weights, read_config
from .codec import Codec, begin, finish
from .errors import ImportFailure
from .graph import Graph
from .layers import Layers, Signal
from .options import Options, kept
from .transformer import Transformer

DEFAULTS = {
    "sampling_rate": 24_000, "audio_channels": 1, "hidden_size": 512, "num_filters": 64,
    "num_residual_layers": 1, "upsampling_ratios": [8, 6, 5, 4], "kernel_size": 7,
    "last_kernel_size": 3, "residual_kernel_size": 3, "dilation_growth_rate": 2,
    "use_causal_conv": True, "pad_mode": "constant", "compress": 2, "trim_right_ratio": 1.0,
    "codebook_size": 2048, "num_quantizers": 32, "use_conv_shortcut": False,
    "num_semantic_quantizers": 1, "num_hidden_layers": 8, "num_attention_heads": 8,
    "num_key_value_heads": 8, "hidden_act": "gelu", "norm_eps": 1e-5, "sliding_window": 250,
    "rope_theta": 10_000.0, "rope_parameters": {}, "head_dim": None,
}
SEMANTIC = "quantizer.semantic_residual_vector_quantizer"
ACOUSTIC = "quantizer.acoustic_residual_vector_quantizer"


def load(folder: Path, options: Options) -> Codec:
    """The checkpoint in `folder` as graphs; raises ImportFailure where it cannot be one."""
    config = Config(read_config(folder, "mimi"), DEFAULTS)
    config.refuse_unless("audio_channels", 1, "tokens are of one channel")
    config.refuse_unless("use_causal_conv", True, "only Mimi as published, causal, is known here")
    config.refuse_unless("trim_right_ratio", 1.0, "only Mimi as published is known here")
    notes: list[str] = []
    pad_mode = config.pad_mode
    if options.start == "zeros":
        pad_mode = "constant"
    if pad_mode not in ("constant", "replicate"):
        raise ImportFailure(f"pad_mode = \"{pad_mode}\": its start would mirror samples that come "
                            "later; give --start zeros to start from zeros")
    if pad_mode != config.pad_mode:
        notes.append(f"The model pads its start by pad_mode = \"{config.pad_mode}\"; this bundle "
                     "starts from zeros, as the same model with pad_mode = \"constant\" does.")
    weights = Weights(folder)
    # one step of the convolutions, and how many of them one frame of codes spans
    hop = math.prod(config.upsampling_ratios)
    span = weights("downsample.conv.weight").shape[2] // 2 if weights.has(
        "downsample.conv.weight") else 1
    frame = hop * span
    books = kept(config.num_quantizers, options, notes)
    semantic = min(books, config.num_semantic_quantizers)
    tables = [_book(weights, f"{SEMANTIC}.layers.{k}.codebook") for k in range(semantic)]
    tables += [_book(weights, f"{ACOUSTIC}.layers.{k}.codebook") for k in range(books - semantic)]

    def layers(graph: Graph) -> Layers:
        return Layers(graph, weights, True, True, pad_mode)

    graph = Graph("encoder")
    encoder = begin(graph, "encoder", frame, books, False)
    audio = graph.op("Reshape", "audio", graph.ints(1, 1, -1))
    own = layers(graph)
    x = seanet.encoder(own, config, Signal(audio, frame), lstm=False)
    x = Transformer(graph, weights, config, "encoder_transformer").run(x)
    if span > 1:
        x = own.conv(x, "downsample", stride=span, pad_mode="replicate")
    codes = []
    for name, part in ((SEMANTIC, tables[:semantic]), (ACOUSTIC, tables[semantic:])):
        if part:
            y = _project(graph, weights, f"{name}.input_proj", x.value)
            codes += quantizer.residual_codes(graph, quantizer.latent_rows(graph, y), part)
    finish(graph, encoder, "codes", quantizer.columns(graph, codes))

    graph = Graph("decoder")
    decoder = begin(graph, "decoder", frame, books, False)
    in_use = graph.op("Unsqueeze", "in_use", graph.ints(1))
    parts = []
    for name, start, end in ((SEMANTIC, 0, semantic), (ACOUSTIC, semantic, books)):
        if start < end:
            rows = quantizer.entries(graph, graph.slice("codes", start, end, 1),
                                     graph.slice(in_use, start, end, 0), tables[start:end])
            y = quantizer.latent_columns(graph, rows)
            parts.append(_project(graph, weights, f"{name}.output_proj", y))
    y = Signal(parts[0] if len(parts) == 1 else graph.op("Add", *parts), 1)
    own = layers(graph)
    if span > 1:
        groups = config.hidden_size // weights("upsample.conv.weight").shape[1]
        y = own.transposed(y, "upsample", stride=span, groups=groups)
    y = Transformer(graph, weights, config, "decoder_transformer").run(y)
    y = seanet.decoder(own, config, y, lstm=False)
    finish(graph, decoder, "audio", graph.op("Reshape", y.value, graph.ints(1, -1)))
    order = (f"Code 0 to {semantic - 1} are semantic, the others acoustic, each part coarsest "
             "first: the order of transformers.") if semantic > 1 else (
             "Code 0 is semantic, the others acoustic, coarsest first: the order of transformers.")
    return Codec("MimiModel", config.sampling_rate, frame, [len(table) for table in tables],
                 encoder, decoder, None, notes, order)


def _book(weights: Weights, name: str):
    """Entries are kept as sums, and how often each was used."""
    usage = weights(f"{name}.cluster_usage")
    return weights(f"{name}.embed_sum") / usage.clip(min=1e-5)[:, None]


def _project(graph: Graph, weights: Weights, name: str, x: str) -> str:
    """A convolution of length 1 and no bias, where the codec has it."""
    if not weights.has(f"{name}.weight"):
        return x
    return graph.op("Conv", x, graph.weight(weights(f"{name}.weight")))
