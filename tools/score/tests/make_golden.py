"""Prints the figures that tests/estoi.rs holds, by pystoi 0.4.1 on signals that both can make.

    pip install numpy scipy pystoi==0.4.1 && python make_golden.py
"""
import numpy as np
from pystoi import stoi

MASK = (1 << 64) - 1


def noise(seed, n):
    out = np.empty(n)
    for i in range(n):
        seed = (seed * 6364136223846793005 + 1442695040888963407) & MASK
        out[i] = (seed >> 40) / (1 << 23) - 1.0
    return out


def speechlike(rate, seconds):
    """Noise and a buzz that take turns, four syllables a second, with pauses."""
    n = int(rate * seconds)
    t = np.arange(n) / rate
    buzz = sum(np.sin(2 * np.pi * 130 * h * t) / h for h in range(1, 20))
    gate = np.maximum(0, np.sin(2 * np.pi * 2 * t)) * (np.sin(2 * np.pi * 0.4 * t) > -0.5)
    hiss = np.maximum(0, np.sin(2 * np.pi * 2 * t + 2)) * 0.3
    return (0.1 * (gate * buzz + hiss * noise(1, n))).astype(np.float32)


for rate in (10000, 16000, 24000, 22050, 48000):
    clean = speechlike(rate, 4)
    for gain in (0.0, 0.02, 0.1, 0.5):
        heard = (clean + gain * noise(2, len(clean))).astype(np.float32)
        print(f"    ({rate}, {gain:?<4}, {stoi(clean, heard, rate, extended=True):.9f}),".replace("?", "0"))
