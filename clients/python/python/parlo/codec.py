"""The codec: sound to codes and back, whole recordings in batches, or streams as they come."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parlo import _arrays, _native
from parlo._library import onnxruntime_library, packaged_bundles

#: Codes of a frame that is missing, or that was lost; also what fills up the shorter ones of a batch.
NO_CODE = -1
#: Codebooks in use when nobody says how many, if the bundle has as many.
DEFAULT_DEPTH = 6
# So few values beside so many are channels of one recording, not samples of many.
MOST_CHANNELS = 16
LEAST_SAMPLES = 256
#: Candidates that the search over the codebooks keeps when nobody says how many.
DEFAULT_BEAM = 4


class Codec:
    """A model, ready to use.

    Parameters
    ----------
    bundle
        A bundle's folder, or the name of one in the usual places. None: what the environment variable ``PARLO_BUNDLE``
        names, else ``parlo-16k``, which comes with the package.

    Raises
    ------
    BundleError
        If there is no such bundle (says where it was looked for), it is damaged, or there is no ONNX Runtime library.

    Notes
    -----
    One codec serves any number of threads. It can be pickled where the bundle's folder is the same.
    """

    def __init__(self, bundle: str | os.PathLike[str] | None = None) -> None:
        named = None if bundle is None else os.fspath(bundle)
        self._native = _native.Codec(named, onnxruntime_library(), packaged_bundles())

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self._native.name

    @property
    def bundle_id(self) -> str:
        """Which bundle this is: SHA-256 of its manifest, 64 hexadecimal digits. See `tokens_id` for who understands its codes."""
        return self._native.bundle_id

    @property
    def tokens_id(self) -> str:
        """Which tokens it speaks, 64 hexadecimal digits, as token files, feeds and calls name them: bundles of other encoders and
        decoders can be of the same tokens, and play what this one makes."""
        return self._native.tokens_id

    def speaks(self, tokens_id: str) -> bool:
        """Whether it understands tokens of this identity: 64 hexadecimal digits, or the 32 that a token file holds."""
        known = self._native.identities
        return any(tokens_id in (identity, identity[:32]) for identity in known)

    @property
    def folder(self) -> Path:
        """Where the bundle lies."""
        return Path(self._native.folder)

    @property
    def sampling_rate(self) -> int:
        """Hz of the sound that comes out; sound of other rates goes in too."""
        return self._native.sampling_rate

    @property
    def frame_samples(self) -> int:
        """Samples of a frame at `sampling_rate`."""
        return self._native.frame_samples

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sampling_rate / self.frame_samples

    @property
    def delay_samples(self) -> int:
        """How many samples the decoder is behind. `encode` adds the frames that make up for it, `decode` takes it off."""
        return self._native.delay_samples

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Entries of each codebook, coarsest first."""
        return tuple(self._native.codebook_sizes)

    @property
    def num_codebooks(self) -> int:
        """How many codebooks there are: the largest depth."""
        return len(self.codebook_sizes)

    @property
    def codebook_size(self) -> int:
        """Entries of the largest codebook; see `codebook_sizes` for each."""
        return max(self.codebook_sizes)

    def num_samples(self, samples: int, sr: int) -> int:
        """How many samples at `sampling_rate` are as long as so many at `sr` Hz: what `length` of `decode` wants."""
        return self._native.num_samples(_arrays.whole_number(samples, "samples"), _rate(sr))

    def num_frames(self, samples: int, sr: int) -> int:
        """How many frames `encode` makes of so many samples at `sr` Hz: T."""
        return self._native.num_frames(_arrays.whole_number(samples, "samples"), _rate(sr))

    def encode(
        self,
        wav: Any,
        sr: int,
        depth: int | None = None,
        *,
        beam: int = DEFAULT_BEAM,
        padding_mask: Any = None,
        lengths: int | Sequence[int] | None = None,
        threads: int | None = None,
    ) -> Any:
        """Turns sound into codes.

        Parameters
        ----------
        wav
            Mono sound [B, 1, N], [B, N] or [N], or a list of [N] or [1, N] of any lengths; float32, float64, float16 (-1 to
            1; what lies beyond is brought there) or int16. NumPy arrays (contiguous float32 is not copied; do not change it
            meanwhile) or torch tensors on the processor.
        sr
            Its rate, Hz, 4000 to 384000. Where it is not the codec's, the sound is resampled.
        depth
            Codebooks to use, 1 to `num_codebooks`; None: 6, or all where there are fewer.
        beam
            Candidates that the search over the codebooks keeps: 1 is the fastest, more find codes with less error.
        padding_mask
            1 where wav is real, 0 where it was filled up at its end: [B, N] or [B, 1, N].
        lengths
            The same as numbers: how many samples of each are real.
        threads
            How many of the batch are encoded at once; None: as many as there are processors. Equal results whatever it is.

        Returns
        -------
        int64 [B, K, T]
            K is the depth, T = `num_frames`. Where lengths differ, the shorter ones are filled up with -1. For a list: a
            list of [K, T]. Torch tensors if wav was, else NumPy arrays.

        Raises
        ------
        TypeError
            If wav has another dtype, or lies on a GPU.
        ValueError
            If wav is empty, has another shape, or holds NaN or infinity (says where); if `sr`, `depth`, `beam` or lengths
            are not possible.
        """
        rate, depth, threads = _rate(sr), self._depth(depth), _threads(threads)
        beam = _arrays.whole_number(beam, "beam")
        torch = _arrays.any_torch(wav)
        if _arrays.is_list_of_arrays(wav):
            if padding_mask is not None or lengths is not None:
                raise ValueError("padding_mask and lengths are for arrays; a list holds what is real already")
            waves = [_mono(_arrays.samples(item, f"wav[{n}]"), f"wav[{n}]") for n, item in enumerate(wav)]
            made = [np.empty((depth, self.num_frames(len(wave), rate)), np.int64) for wave in waves]
            self._native.encode(waves, made, rate, depth, beam, threads)
            return [_arrays.like(item, torch) for item in made]
        batch = _batch(_arrays.samples(wav, "wav"))
        waves = [batch[n, :length] for n, length in enumerate(_lengths(batch, padding_mask, lengths))]
        frames = [self.num_frames(len(wave), rate) for wave in waves]
        codes = np.full((len(waves), depth, max(frames)), NO_CODE, np.int64)
        made = [codes[n, :, :count] for n, count in enumerate(frames)]
        self._native.encode(waves, made, rate, depth, beam, threads)
        return _arrays.like(codes, torch)

    def decode(
        self,
        codes: Any,
        *,
        length: int | Sequence[int] | None = None,
        threads: int | None = None,
    ) -> Any:
        """Turns codes into sound.

        Parameters
        ----------
        codes
            [B, K, T] or [K, T], or a list of [K, T] of any T; any integers, K from 1 to `num_codebooks`. A frame whose finer
            codes are -1 is coarser; one of nothing but -1 was lost and is concealed, as in a call; at the end it is
            padding.
        length
            How many samples are wanted of each, at `sampling_rate`: up to T * `frame_samples` - `delay_samples`. None: all.
        threads
            How many of the batch are decoded at once; None: as many as there are processors.

        Returns
        -------
        float32 [B, 1, N]
            Sound at `sampling_rate`, in line with what was encoded; N = T * `frame_samples` - `delay_samples`, or the
            greatest length. The shorter ones are filled up with zeros. For a list: a list of [1, N]. Torch tensors if codes
            were, else NumPy arrays.

        Raises
        ------
        TypeError
            If codes are no integers, or lie on a GPU.
        ValueError
            If there are none, they have another shape, or one lies outside its codebook (says where); if `length` is not
            possible.
        """
        threads = _threads(threads)
        torch = _arrays.any_torch(codes)
        as_list = _arrays.is_list_of_arrays(codes)
        if as_list:
            items = [_arrays.codes(item, f"codes[{n}]") for n, item in enumerate(codes)]
        else:
            given = _arrays.codes(codes, "codes")
            items = list(given[None] if given.ndim == 2 else given) if given.ndim in (2, 3) else [given]
        self._check(items, as_list)
        possible = [max(0, item.shape[1] * self.frame_samples - self.delay_samples) for item in items]
        wanted = _arrays.one_for_each(length, len(items), "length")
        for n, (most, asked) in enumerate(zip(possible, wanted)):
            if asked is not None and asked > most:
                raise ValueError(f"length {asked} is not possible: {items[n].shape[1]} frames render {most} samples")
        lengths = [most if asked is None else asked for most, asked in zip(possible, wanted)]
        if as_list:
            listed = [np.zeros((1, count), np.float32) for count in lengths]
            self._native.decode(items, [item[0] for item in listed], threads)
            return [_arrays.like(item, torch) for item in listed]
        wav = np.zeros((len(items), 1, max(lengths)), np.float32)
        # Empty parts of one array count as the same memory.
        rows = [wav[n, 0, :count] if count else np.zeros(0, np.float32) for n, count in enumerate(lengths)]
        self._native.decode(items, rows, threads)
        return _arrays.like(wav, torch)

    def encoder(self, depth: int | None = None, sr: int | None = None, *, beam: int = DEFAULT_BEAM) -> "Encoder":
        """An encoder at the start of a stream of sound at `sr` Hz (None: the codec's rate).

        Raises
        ------
        ValueError
            If `depth`, `sr` or `beam` is not possible, or the model takes whole recordings only (says why).
        """
        rate = self.sampling_rate if sr is None else _rate(sr)
        beam = _arrays.whole_number(beam, "beam")
        return Encoder(self._native.encoder(rate, self._depth(depth), beam))

    def decoder(self) -> "Decoder":
        """A decoder at the start of a stream of codes.

        Raises
        ------
        ValueError
            If the model takes whole recordings only (says why).
        """
        return Decoder(self._native.decoder())

    def _depth(self, depth: int | None) -> int:
        if depth is None:
            return min(DEFAULT_DEPTH, self.num_codebooks)
        return _arrays.whole_number(depth, "depth")

    def _check(self, items: list[NDArray[np.int64]], listed: bool) -> None:
        if not items:
            raise ValueError("codes are empty: there is nothing to decode")
        for n, item in enumerate(items):
            what = f"codes[{n}]" if listed else "codes"
            if item.ndim != 2:
                expected = "[K, T] each" if listed else "[B, K, T] or [K, T]"
                raise ValueError(f"{what} has shape {list(item.shape)}; {expected} is expected")
            if item.shape[1] == 0:
                raise ValueError(f"{what} holds no frames: there is nothing to decode")

    def __reduce__(self) -> tuple[type["Codec"], tuple[str]]:
        return Codec, (str(self.folder),)

    def __repr__(self) -> str:
        return (
            f"Codec({self.name!r}, {self.sampling_rate} Hz, {self.frame_rate:g} frames a second, "
            f"{self.num_codebooks} codebooks of {self.codebook_size}, tokens {self.tokens_id[:8]}, bundle {self.bundle_id[:8]})"
        )


class Encoder:
    """Turns one stream of sound into codes, as it comes. `Codec.encoder` makes one.

    What all pushes and a flush give, one after the other, are the codes that `Codec.encode` makes of all the sound at once (but for
    near ties: the last bits of the network's sums can depend on how many frames it takes at once).
    """

    def __init__(self, native: _native.Encoder) -> None:
        self._native = native

    @property
    def depth(self) -> int:
        """Codebooks in use. Can be changed at any time, for the frames that are not yet begun."""
        return self._native.depth

    @depth.setter
    def depth(self, depth: int) -> None:
        self._native.depth = _arrays.whole_number(depth, "depth")

    @property
    def num_samples(self) -> int:
        """Samples so far, counted at the codec's rate, since the start or the last flush or reset."""
        return self._native.num_samples

    def push(self, samples: Any) -> Any:
        """Takes the next samples, [N], [1, N] or [1, 1, N], any number of them.

        Returns
        -------
        int64 [K, t]
            The codes of the frames that are whole now: none, one or more.

        Raises
        ------
        TypeError, ValueError
            As `Codec.encode`, but that no samples are welcome. The stream is as before then.
        """
        wave = _mono(_arrays.samples(samples, "samples"), "samples")
        return _arrays.like(self._native.push(wave), _arrays.is_torch(samples))

    def flush(self) -> NDArray[np.int64]:
        """Ends the stream: the codes [K, t] of what is left, filled up with silence, so that the decoder can render all of it.

        The next push begins another stream.
        """
        return self._native.flush()

    def reset(self) -> None:
        """Forgets everything heard so far, as if new."""
        self._native.reset()

    def __repr__(self) -> str:
        return f"Encoder(depth={self.depth}, {self.num_samples} samples)"


class Decoder:
    """Turns one stream of codes into sound, as they come. `Codec.decoder` makes one.

    What all pushes give, one after the other, is the sound that `Codec.decode` makes of all codes at once, to 1e-4.
    """

    def __init__(self, native: _native.Decoder) -> None:
        self._native = native

    @property
    def num_frames(self) -> int:
        """Frames so far, since the start or the last flush or reset."""
        return self._native.num_frames

    def push(self, codes: Any) -> Any:
        """Takes the next frames: codes [K] of one, or [K, t] of any number. -1 as in `Codec.decode`.

        Returns
        -------
        float32 [n]
            `Codec.frame_samples` for each frame, but `Codec.delay_samples` fewer at the start.

        Raises
        ------
        TypeError, ValueError
            As `Codec.decode`. The stream is as before then.
        """
        given = _arrays.codes(codes, "codes")
        if given.ndim == 1:
            given = given[:, None]
        if given.ndim != 2:
            raise ValueError(f"codes has shape {list(given.shape)}; [K] or [K, t] is expected")
        return _arrays.like(self._native.push(given), _arrays.is_torch(codes))

    def conceal(self, frames: int = 1) -> NDArray[np.float32]:
        """Makes up for frames that did not come: float32 [n]. Glides to silence within 200 ms."""
        return self._native.conceal(_arrays.whole_number(frames, "frames"))

    def flush(self) -> NDArray[np.float32]:
        """Ends the stream: the last `Codec.delay_samples` samples, float32 [n], with nothing to follow them.

        Not needed after what `Codec.encode` or `Encoder.flush` made, which render everything already. The next push begins
        another stream.
        """
        return self._native.flush()

    def reset(self) -> None:
        """Forgets everything heard so far, as if new."""
        self._native.reset()

    def __repr__(self) -> str:
        return f"Decoder({self.num_frames} frames)"


def _rate(sr: Any) -> int:
    # Some readers of sound files give the rate as a float.
    number = int(sr) if isinstance(sr, float) and sr.is_integer() else _arrays.whole_number(sr, "sr")
    if not 4000 <= number <= 384000:
        raise ValueError(f"sr is {number} Hz; 4000 to 384000 Hz are possible")
    return number


def _threads(threads: int | None) -> int:
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    number = _arrays.whole_number(threads, "threads")
    if not 1 <= number <= 1024:
        raise ValueError(f"threads is {number}; 1 to 1024 are possible")
    return number




def _mono(wave: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    """One recording, [N], of [N], [1, N] or [1, 1, N]."""
    if wave.ndim in (1, 2, 3) and all(size == 1 for size in wave.shape[:-1]):
        return wave.reshape(wave.shape[-1])
    raise ValueError(f"{what} has shape {list(wave.shape)}; [N] or [1, N] is expected, mono")


def _batch(wav: NDArray[np.float32]) -> NDArray[np.float32]:
    """A batch [B, N] of [N], [B, N] or [B, 1, N]."""
    # Channels last, as soundfile reads them: as a batch it would be thousands of recordings of a sample or two.
    if wav.ndim in (2, 3) and 0 < wav.shape[-1] <= MOST_CHANNELS and wav.shape[-2] >= LEAST_SAMPLES:
        raise ValueError(
            f"wav has shape {list(wav.shape)}, which looks like [..., samples, channels]; [B, 1, N], [B, N] or [N] is expected, samples "
            f"last: mix the channels to one first, wav.mean(-1)"
        )
    if wav.ndim == 3 and wav.shape[1] != 1:
        raise ValueError(f"wav has shape {list(wav.shape)}, {wav.shape[1]} channels: mix them to one first, wav.mean(1)")
    if wav.ndim not in (1, 2, 3):
        raise ValueError(f"wav has shape {list(wav.shape)}; [B, 1, N], [B, N] or [N] is expected")
    if wav.ndim == 3 and wav.shape[2] <= MOST_CHANNELS < wav.shape[0]:
        raise ValueError(f"wav has shape {list(wav.shape)}; [B, 1, N], [B, N] or [N] is expected, samples last")
    if wav.size == 0:
        raise ValueError(f"wav is empty, it has shape {list(wav.shape)}: there is nothing to encode")
    return wav.reshape(-1, wav.shape[-1])


def _lengths(batch: NDArray[np.float32], mask: Any, lengths: int | Sequence[int] | None) -> list[int]:
    count, samples = batch.shape
    if mask is not None:
        if lengths is not None:
            raise ValueError("padding_mask and lengths say the same: give one of them")
        found = _arrays.lengths_of(mask, (count, samples))
    else:
        found = [samples if n is None else n for n in _arrays.one_for_each(lengths, count, "lengths")]
    for n, length in enumerate(found):
        if not 1 <= length <= samples:
            raise ValueError(f"wav {n} has length {length}; 1 to {samples} samples are possible")
    return found
