"""SEANet, the convolutional encoder and decoder that EnCodec and Mimi share.

Tagliasacchi et al., "SEANet: A multi-modal speech enhancement network", Interspeech 2020; layers
are numbered as `transformers` numbers them.
"""

from __future__ import annotations

from .checkpoint import Config
from .layers import Layers, Signal


def encoder(layers: Layers, config: Config, x: Signal, lstm: bool) -> Signal:
    """Waveform to latent: [1, 1, samples] to [1, hidden_size, samples / product of ratios]."""
    x = layers.conv(x, "encoder.layers.0")
    number = 1
    for ratio in reversed(config.upsampling_ratios):
        for j in range(config.num_residual_layers):
            x = _block(layers, config, x, f"encoder.layers.{number}", j)
            number += 1
        x = layers.conv(layers.elu(x), f"encoder.layers.{number + 1}", stride=ratio)
        number += 2
    if lstm:
        x = layers.lstm(x, f"encoder.layers.{number}", config.num_lstm_layers)
        number += 1
    return layers.conv(layers.elu(x), f"encoder.layers.{number + 1}")


def decoder(layers: Layers, config: Config, x: Signal, lstm: bool) -> Signal:
    """Latent to waveform, the other way round."""
    x = layers.conv(x, "decoder.layers.0")
    number = 1
    if lstm:
        x = layers.lstm(x, "decoder.layers.1", config.num_lstm_layers)
        number += 1
    for ratio in config.upsampling_ratios:
        x = layers.transposed(layers.elu(x), f"decoder.layers.{number + 1}", stride=ratio)
        number += 2
        for j in range(config.num_residual_layers):
            x = _block(layers, config, x, f"decoder.layers.{number}", j)
            number += 1
    return layers.conv(layers.elu(x), f"decoder.layers.{number + 1}")


def _block(layers: Layers, config: Config, x: Signal, name: str, j: int) -> Signal:
    y = layers.conv(layers.elu(x), f"{name}.block.1", dilation=config.dilation_growth_rate**j)
    y = layers.conv(layers.elu(y), f"{name}.block.3")
    way_around = layers.conv(x, f"{name}.shortcut") if config.use_conv_shortcut else x
    return layers.add(way_around, y)
