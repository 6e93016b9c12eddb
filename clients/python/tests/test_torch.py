"""Torch tensors in, torch tensors out."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")


def test_tensors_go_in_and_come_out(codec, wav, codes):
    tensor = torch.from_numpy(wav.copy())
    for given in (tensor, tensor[None, None], tensor.double(), tensor.clone().requires_grad_()):
        found = codec.encode(given, 16000)
        assert isinstance(found, torch.Tensor) and found.dtype == torch.int64
        assert (found.numpy() == codes).all()
    sound = codec.decode(torch.from_numpy(codes))
    assert isinstance(sound, torch.Tensor) and sound.dtype == torch.float32
    assert (sound.numpy() == codec.decode(codes)).all()
    # Their memory is theirs to write.
    sound += 1
    listed = codec.encode([tensor, tensor[:999]], 16000)
    assert all(isinstance(one, torch.Tensor) for one in listed)
    mask = torch.ones(1, len(wav), dtype=torch.bool)
    assert (codec.encode(tensor[None], 16000, padding_mask=mask).numpy() == codes).all()
    assert (codec.encode(tensor[None], 16000, lengths=torch.tensor([len(wav)])).numpy() == codes).all()


def test_streams_of_tensors(codec, wav, codes):
    encoder, decoder = codec.encoder(), codec.decoder()
    found = encoder.push(torch.from_numpy(wav.copy()))
    assert isinstance(found, torch.Tensor) and (found.numpy() == codes[:, :100]).mean() > 0.99
    assert isinstance(decoder.push(found[:, 0]), torch.Tensor)
    assert isinstance(encoder.push(wav), np.ndarray)


def test_what_is_no_sound_on_the_processor_is_refused(codec):
    with pytest.raises(TypeError, match=r"wav.*\.cpu\(\)"):
        codec.encode(torch.zeros(100, device="meta"), 16000)
    with pytest.raises(TypeError, match="wav"):
        codec.encode(torch.zeros(100, dtype=torch.bfloat16), 16000)
    with pytest.raises(TypeError, match="int64"):
        codec.decode(torch.zeros(6, 5))
    with pytest.raises(ValueError, match="sample 7"):
        tensor = torch.zeros(100)
        tensor[7] = float("nan")
        codec.encode(tensor, 16000)
