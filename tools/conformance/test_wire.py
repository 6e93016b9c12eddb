"""The vectors of docs/wire.md, made a second time by what the document says (`wire.py`)."""

import pytest

from conftest import ROOT
from primitives import aes_block, ccm_seal, chacha_seal, expand, public_of, x25519
from wire import VERSION, Direction, Noise, agree, draw, psk_text, rekey_message, root_of

VECTORS = {
    name: bytes.fromhex(text)
    for name, _, text in (line.partition(": ") for line in (ROOT / "docs/wire.md").read_text().splitlines())
    if text and all(len(byte) == 2 and set(byte) <= set("0123456789ABCDEF") for byte in text.split())
}
INDEX = {"caller": 0x0102, "listener": 0xBEEF}


def test_the_primitives_are_those_of_their_standards():
    """RFC 7748 section 5.2 and 6.1, RFC 8439 section 2.8.2 by its tag, FIPS 197 appendix B, SP 800-38C example 3."""
    k = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    u = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert x25519(k, u).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    key, block = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes.fromhex("3243f6a8885a308d313198a2e0370734")
    assert aes_block(key, block).hex() == "3925841d02dc09fbdc118597196a0b32"
    sealed = ccm_seal(bytes(range(0x40, 0x50)), bytes(range(0x10, 0x1C)), bytes(range(0x20, 0x38)), bytes(range(20)))
    assert sealed.hex() == "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5484392fbc1b09951"
    assert len(chacha_seal(bytes(32), 0, b"text", b"")) == 20


def secrets():
    """As the programs draw them: see the document."""
    state, _ = draw(bytes([3] * 32))
    _, caller = draw(draw(state)[1])
    state = bytes([4] * 32)
    for _ in range(2):
        state, _ = draw(state)
    _, listener = draw(draw(state)[1])
    return {"s": bytes([1] * 32), "e": caller}, {"s": bytes([2] * 32), "e": listener}


@pytest.mark.parametrize("pattern", ["ik", "xx"])
def test_calls_are_as_the_document_says(pattern):
    caller, listener = secrets()
    vector = lambda name: VECTORS[f"sealed-{pattern}-{name}"]
    assert VECTORS["sealed-caller-public"] == public_of(caller["s"])
    assert VECTORS["sealed-listener-public"] == public_of(listener["s"])
    assert VECTORS["sealed-caller-ephemeral"] == caller["e"]
    assert VECTORS["sealed-listener-ephemeral"] == listener["e"]
    cookie, offer, answer = vector("retry")[4:], VECTORS["offer"], VECTORS["answer"]
    indices = {side: index.to_bytes(2, "big") for side, index in INDEX.items()}
    noise = Noise(pattern.upper(), b"parlo" + bytes([VERSION]) + cookie, caller, listener)

    head = bytes([0x41, VERSION]) + indices["caller"] + bytes([1 if pattern == "ik" else 2]) + cookie
    assert vector("initiate") == head + noise.message(0, offer if pattern == "ik" else b"")
    verdict = b"\0" + answer if pattern == "ik" else b""
    assert vector("respond") == bytes([0x43, VERSION]) + indices["caller"] + noise.message(1, indices["listener"] + verdict)
    if pattern == "xx":
        assert vector("finish") == bytes([0x44, VERSION]) + indices["listener"] + noise.message(2, offer)
    first, second = noise.split()
    there, back = Direction(first, INDEX["listener"]), Direction(second, INDEX["caller"])
    if pattern == "xx":
        assert vector("answer") == back.control(b"\2" + answer)
    assert vector("confirm") == there.control(b"\0")
    assert vector("confirmed") == back.control(b"\1")
    media, bye = VECTORS["media"], VECTORS["bye"]
    assert vector("media") == there.media(0x1234, media[0], media[1:])
    assert vector("bye") == back.control(b"\4" + bye)

    _, challenge = draw(expand(second, b"parlo paths", 32))
    assert vector("challenge") == back.control(b"\5" + challenge[:8])
    assert vector("echo") == there.control(b"\6" + challenge[:8])

    # Keys are agreed upon anew.
    ours, theirs = bytes([5] * 32), bytes([6] * 32)
    assert vector("rekey") == there.control(rekey_message(7, 1, public_of(ours)))
    assert vector("rekeyed") == back.control(rekey_message(8, 1, public_of(theirs)))
    _, first, second = agree(root_of(first), ours, theirs)
    there.turn(first)
    back.turn(second)
    assert vector("rekey-confirm") == there.control(b"\0")
    assert vector("rekey-confirmed") == back.control(b"\1")
    assert vector("rekey-media") == there.media(0x123A, media[0], media[1:])


def test_calls_with_a_shared_secret_are_as_the_document_says():
    caller, listener = secrets()
    vector = lambda name: VECTORS[f"sealed-psk-{name}"]
    psk, cookie = bytes([7] * 32), vector("retry")[4:]
    assert vector("text").decode() == psk_text(psk)
    indices = {side: index.to_bytes(2, "big") for side, index in INDEX.items()}
    proof = expand(psk, b"parlo psk" + public_of(caller["s"]) + public_of(listener["s"]) + cookie, 16)
    for mixed, code, answer in ((bytes(32), b"\6", "refused"), (psk, b"\0" + VECTORS["answer"], "respond")):
        noise = Noise("IKpsk2", b"parlo" + bytes([VERSION]) + cookie, caller, listener, mixed)
        head = bytes([0x41, VERSION]) + indices["caller"] + bytes([3]) + cookie
        assert vector("initiate") == head + noise.message(0, proof + VECTORS["offer"])
        assert vector(answer) == bytes([0x43, VERSION]) + indices["caller"] + noise.message(1, indices["listener"] + code)
    first, _ = noise.split()
    there, media = Direction(first, INDEX["listener"]), VECTORS["media"]
    assert vector("confirm") == there.control(b"\0")
    assert vector("media") == there.media(0x1234, media[0], media[1:])
