"""EnCodec (Defossez et al., "High Fidelity Neural Audio Compression", 2022), of one channel."""

from __future__ import annotations

import math
from pathlib import Path

from . import quantizer, seanet
from .checkpoint import Config, Weights, read_config
from .codec import Codec, begin, finish
from .errors import ImportFailure
from .graph import Graph
from .layers import Layers, Signal
from .options import Options, books_of

DEFAULTS = {
    "sampling_rate": 24_000, "audio_channels": 1, "normalize": False, "chunk_length_s": None,
    "hidden_size": 128, "num_filters": 32, "num_residual_layers": 1,
    "upsampling_ratios": [8, 5, 4, 2], "norm_type": "weight_norm", "kernel_size": 7,
    "last_kernel_size": 7, "residual_kernel_size": 3, "dilation_growth_rate": 2,
    "use_causal_conv": True, "pad_mode": "reflect", "compress": 2, "num_lstm_layers": 2,
    "trim_right_ratio": 1.0, "codebook_size": 1024, "use_conv_shortcut": True,
    "target_bandwidths": [1.5, 3.0, 6.0, 12.0, 24.0],
}
PAD_MODES = ("constant", "replicate", "reflect")


def load(folder: Path, options: Options) -> Codec:
    """The checkpoint in `folder` as graphs; raises ImportFailure where it cannot be one."""
    config = Config(read_config(folder, "encodec"), DEFAULTS)
    config.refuse_unless("audio_channels", 1, "tokens are of one channel")
    config.refuse_unless("normalize", False, "the loudness of each piece of audio would have to be "
                         "kept beside its codes, for which tokens have no place")
    config.refuse_unless("chunk_length_s", None, "it codes overlapping pieces of audio apart, so "
                         "its codes are no single stream")
    if config.pad_mode not in PAD_MODES:
        raise ImportFailure(f"pad_mode = \"{config.pad_mode}\" is unknown; known are "
                            + ", ".join(PAD_MODES))
    weights = Weights(folder)
    whole, pad_mode, notes = _whole(config, options)
    frame = math.prod(config.upsampling_ratios)
    rate = math.ceil(config.sampling_rate / frame)
    bits = math.ceil(math.log2(config.codebook_size))
    most = int(1000 * config.target_bandwidths[-1] // (rate * bits))
    books = books_of(weights, "quantizer.layers", most, options, notes)

    def layers(graph: Graph) -> Layers:
        return Layers(graph, weights, whole is None, config.use_causal_conv, pad_mode,
                      config.trim_right_ratio, config.norm_type == "time_group_norm")

    tables = [weights(f"quantizer.layers.{k}.codebook.embed") for k in range(books)]
    graph = Graph("encoder")
    encoder = begin(graph, "encoder", frame, books, whole is not None)
    audio = graph.op("Reshape", "audio", graph.ints(1, 1, -1))
    x = seanet.encoder(layers(graph), config, Signal(audio, None if whole else frame), lstm=True)
    rows = quantizer.latent_rows(graph, x.value)
    finish(graph, encoder, "codes",
           quantizer.columns(graph, quantizer.residual_codes(graph, rows, tables)))

    graph = Graph("decoder")
    decoder = begin(graph, "decoder", frame, books, whole is not None)
    in_use = graph.op("Unsqueeze", "in_use", graph.ints(1))
    rows = quantizer.entries(graph, "codes", in_use, tables)
    latent = Signal(quantizer.latent_columns(graph, rows), None if whole else 1)
    y = seanet.decoder(layers(graph), config, latent, lstm=True)
    finish(graph, decoder, "audio", graph.op("Reshape", y.value, graph.ints(1, -1)))
    return Codec("EncodecModel", config.sampling_rate, frame, [len(table) for table in tables],
                 encoder, decoder, whole, notes)


def _whole(config: Config, options: Options) -> tuple[str | None, str, list[str]]:
    """Why it cannot stream, if it cannot; how convolutions pad; what to say of that."""
    reason = None
    if not config.use_causal_conv:
        reason = "its convolutions look ahead (use_causal_conv is false)"
    elif config.norm_type != "weight_norm":
        reason = "it normalises over the whole recording (norm_type is time_group_norm)"
    elif config.trim_right_ratio != 1.0:
        reason = "its decoder looks ahead (trim_right_ratio is below 1)"
    elif config.pad_mode == "reflect" and options.start != "zeros":
        reason = ("its start mirrors samples that come later (pad_mode is reflect); imported with "
                  "--start zeros it streams, and differs at the start")
    if options.start != "zeros" or config.pad_mode == "constant":
        return reason, config.pad_mode, []
    return reason, "constant", [
        f"The model pads its start by pad_mode = \"{config.pad_mode}\"; this bundle starts from "
        "zeros (`--start zeros`), as the same model with pad_mode = \"constant\" does. The first "
        "frames' codes and sound differ from the original's, by as much as its receptive field "
        "reaches back; its LSTM carries a trace of that on."]
