"""The codec whole: encoder, quantizer, decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import Config
from .decoder import Decoder
from .encoder import Encoder
from .harmonic_noise import HarmonicNoiseDecoder
from .quantizer import ResidualQuantizer
from .voice_encoder import VoiceEncoder


class Codec(nn.Module):
    """Audio to codes and back. Causal; every prefix of the codes decodes."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        voice = config.encoder.kind == "voice"
        self.encoder = (VoiceEncoder if voice else Encoder)(config)
        self.quantizer = ResidualQuantizer(config.quantizer)
        lean = config.decoder.head == "harmonic-noise"
        self.decoder = (HarmonicNoiseDecoder if lean else Decoder)(config)

    @property
    def delay(self) -> int:
        """Samples by which decoded audio is behind."""
        return self.config.audio.frame

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Tensor:
        """audio [B, samples] -> codes [B, T, stages]; the last frame is filled with silence."""
        frame = self.config.audio.frame
        audio = nn.functional.pad(audio, (0, -audio.shape[1] % frame))
        return self.quantizer.encode(self.encoder(audio)[0])

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, T, K] -> audio [B, T x frame], `delay` samples late."""
        depth = torch.full(codes.shape[:2], codes.shape[2], device=codes.device)
        return self.decoder(self.quantizer.decode(codes), depth)

    def compute(self) -> dict[str, float]:
        """Million multiply-accumulates per second of audio, by part, matrix products only."""
        features = self.encoder.features
        frame, bins = self.config.audio.frame, self.config.audio.bins

        def dense(module: nn.Module, rate: int) -> float:
            layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
            return rate * sum(layer.weight.numel() for layer in layers)

        encoder = dense(self.encoder, 50) + 50 * (
            2 * frame * 2 * features.short_bins
            + 2 * frame * 2 * features.low_bins
            + features.lags.numel()
        )
        own = self.decoder
        decoder = dense(own.enter, 50) + dense(own.stack, 50) + dense(own.split, 50)
        decoder += dense(own.fine, 100) + dense(own.head, 100) + 100 * frame * 2 * bins
        if isinstance(own, HarmonicNoiseDecoder):
            decoder += dense(own.phase, 100) + 100 * frame * 2 * bins
        elif own.harmonic:
            decoder += dense(own.listen, 100) + 2 * 100 * frame * 2 * bins
        search = 50 * self.quantizer.codebooks.numel()
        return {"encoder": encoder / 1e6, "decoder": decoder / 1e6, "search": search / 1e6}
