"""What users hand in, as NumPy arrays; what they get, as what they handed in."""

import sys
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# DLPack's numbers of devices whose memory the processor can read.
_CPU_DEVICES = (1, 3)
# Row by row, where the processor likes it, and of no subclass.
_PLAIN: Final = ("C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY")


def is_torch(value: object) -> bool:
    """Whether this is a torch tensor. Does not import torch: who has a tensor has imported it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def array(value: Any, what: str) -> NDArray[Any]:
    """An array of any shape and type, without a copy where possible.

    Takes NumPy arrays, torch tensors and whatever else speaks DLPack, and nested lists of numbers.

    Raises
    ------
    TypeError
        If it is none of these, or lies on a GPU; `what` names it.
    """
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__dlpack__"):
        if not _is_on_cpu(value):
            place = getattr(value, "device", "another device")
            raise TypeError(f"{what} lies on {place}, and Parlo computes on the processor: pass {what}.cpu()")
        # Torch does not share a tensor that is part of a computation to be differentiated.
        shared = value.detach() if is_torch(value) else value
        try:
            return np.from_dlpack(shared)
        except (BufferError, RuntimeError) as error:
            raise TypeError(f"{what} cannot be read as a NumPy array: {error}") from error
    try:
        made = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what} is no array: {error}") from error
    if made.dtype == object:
        raise TypeError(f"{what} must be an array or a tensor, not {type(value).__name__}")
    return made


def _is_on_cpu(value: Any) -> bool:
    try:
        return value.__dlpack_device__()[0] in _CPU_DEVICES
    except (BufferError, RuntimeError, ValueError):
        # Some places have no name in DLPack.
        return False


def samples(value: Any, what: str) -> NDArray[np.float32]:
    """Samples of sound as contiguous float32, nominally -1 to 1; those that are so already are not copied.

    Raises
    ------
    TypeError
        If they are not float16, float32, float64 or int16.
    """
    given = array(value, what)
    kind = given.dtype.newbyteorder("=")
    if kind == np.int16:
        return given.astype(np.float32) / np.float32(32768)
    if kind not in (np.float16, np.float32, np.float64):
        raise TypeError(f"{what} has dtype {given.dtype}; float32, float64, float16 and int16 are possible")
    # What is no float32 becomes infinite, and is refused as that.
    with np.errstate(over="ignore"):
        return np.require(given, np.float32, _PLAIN)


def codes(value: Any, what: str) -> NDArray[np.int64]:
    """Codes as contiguous int64; those that are so already are not copied.

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If they do not fit into int64.
    """
    given = array(value, what)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{what} has dtype {given.dtype}; codes are integers (int64)")
    if given.dtype == np.uint64 and given.size and given.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{what} holds {given.max()}, which is no code")
    return np.require(given, np.int64, _PLAIN)


def like(result: NDArray[Any], torch_wanted: bool) -> Any:
    """The array, or a torch tensor that shares its memory."""
    return sys.modules["torch"].from_numpy(result) if torch_wanted else result


def any_torch(value: Any) -> bool:
    """Whether this, or a member of it, is a torch tensor."""
    return is_torch(value) or (isinstance(value, (list, tuple)) and any(is_torch(item) for item in value))


def is_list_of_arrays(value: Any) -> bool:
    """Whether this is a batch given piece by piece, rather than an array or numbers."""
    return isinstance(value, (list, tuple)) and any(hasattr(item, "shape") for item in value)


def lengths_of(mask: Any, shape: tuple[int, int]) -> list[int]:
    """How many samples of each of the batch are real, by a mask [B, N] or [B, 1, N]: 1 or True where they are.

    Raises
    ------
    ValueError
        If the mask has another shape, or what is padded is not at the end.
    """
    given = array(mask, "padding_mask")
    if given.ndim == 3 and given.shape[1] == 1:
        given = given[:, 0]
    if given.shape != shape:
        raise ValueError(f"padding_mask has shape {list(given.shape)}, and wav {list(shape)}: they must be the same")
    real = given.astype(bool)
    lengths = real.sum(axis=1)
    if (real != (np.arange(shape[1]) < lengths[:, None])).any():
        raise ValueError("padding_mask must be 1 for the samples of each wav, and 0 after: only its end can be padded")
    return [int(length) for length in lengths]


def one_for_each(given: int | Sequence[int] | None, count: int, what: str) -> list[int | None]:
    """A number for each of a batch, out of one for all, one for each, or none."""
    if given is None:
        return [None] * count
    try:
        # Also NumPy's integers, and arrays and tensors of them.
        numbers = [given] * count if np.ndim(given) == 0 else given
        listed: list[int | None] = [whole_number(number, what) for number in numbers]  # type: ignore[union-attr]
    except TypeError as error:
        raise TypeError(f"{what} must be whole numbers: {error}") from error
    if len(listed) != count:
        raise ValueError(f"{what} has {len(listed)} numbers for a batch of {count}")
    return listed


def whole_number(given: Any, what: str) -> int:
    """An integer of Python's, NumPy's or torch's.

    Raises
    ------
    TypeError
        If it is a fraction, or no number.
    ValueError
        If it is negative or beyond 2^63.
    """
    if isinstance(given, (bool, np.bool_)) or not hasattr(given, "__index__"):
        raise TypeError(f"{what} must be a whole number, not {given!r}")
    number = int(given.__index__())
    if not 0 <= number < 1 << 63:
        raise ValueError(f"{what} is {number}, which is not possible")
    return number
