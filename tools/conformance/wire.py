"""The outer layer of docs/wire.md, from the document: handshakes, sealed packets, and keys that are agreed upon anew."""

import base64
import hashlib

from primitives import ccm_seal, chacha_seal, expand, extract, noise_hkdf, public_of, x25519

VERSION = 3
PATTERNS = {
    "IK": (["s"], [["e", "es", "s", "ss"], ["e", "ee", "se"]]),
    "XX": ([], [["e"], ["e", "ee", "s", "es"], ["s", "se"]]),
    "IKpsk2": (["s"], [["e", "es", "s", "ss"], ["e", "ee", "se", "psk"]]),
}


class Noise:
    """Both sides of a handshake at once (Noise section 5): all secrets are known here."""

    def __init__(self, pattern, prologue, caller, listener, psk=None):
        name = f"Noise_{pattern}_25519_ChaChaPoly_BLAKE2s".encode()
        self.hash = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.blake2s(name).digest()
        self.chain, self.key, self.number, self.psk = self.hash, None, 0, psk
        before, self.messages = PATTERNS[pattern]
        # By whose they are: the caller's, the listener's.
        self.secrets = {"s": caller["s"], "e": caller["e"]}, {"s": listener["s"], "e": listener["e"]}
        self.mix_hash(prologue)
        for _ in before:
            self.mix_hash(public_of(listener["s"]))

    def mix_hash(self, data):
        self.hash = hashlib.blake2s(self.hash + data).digest()

    def mix_key(self, secret):
        self.chain, self.key = noise_hkdf(self.chain, secret, 2)
        self.number = 0

    def seal(self, text):
        if self.key is not None:
            text = chacha_seal(self.key, self.number, text, self.hash)
            self.number += 1
        self.mix_hash(text)
        return text

    def message(self, n, payload):
        own, out = self.secrets[n % 2], b""
        for token in self.messages[n]:
            if token == "e":
                public = public_of(own["e"])
                out += public
                self.mix_hash(public)
                if self.psk is not None:
                    self.mix_key(public)
            elif token == "s":
                out += self.seal(public_of(own["s"]))
            elif token == "psk":
                self.chain, hashed, self.key = noise_hkdf(self.chain, self.psk, 3)
                self.mix_hash(hashed)
                self.number = 0
            else:
                # The first letter is the caller's key, the second the listener's.
                self.mix_key(x25519(self.secrets[0][token[0]], public_of(self.secrets[1][token[1]])))
        return out + self.seal(payload)

    def split(self):
        return noise_hkdf(self.chain, b"", 2)


def draw(state):
    """The next state, and what is drawn."""
    out = expand(state, b"parlo draw", 64)
    return out[:32], out[32:]


class Space:
    """Packets of one direction, of one kind."""

    def __init__(self, direction, name, epoch=0):
        self.chain, self.epoch, self.keys = expand(direction, b"parlo " + name, 32), epoch, None
        self.step()

    def step(self):
        out = expand(self.chain, b"parlo epoch", 60)
        self.chain, self.keys = out[:32], (out[32:48], out[48:])

    def seal(self, first, receiver, number, body):
        while self.epoch < number >> 16:
            self.epoch += 1
            self.step()
        key, salt = self.keys
        nonce = bytes(a ^ b for a, b in zip(salt, number.to_bytes(12, "big")))
        header = bytes([first]) + receiver.to_bytes(2, "big") + (number & 0xFFFF).to_bytes(2, "big")
        return header + ccm_seal(key, nonce, body, header)


class Direction:
    """What one side sends: to which index, and the next number of its control packets."""

    def __init__(self, key, receiver):
        self.receiver, self.number = receiver, 0
        self.turn(key)

    def turn(self, key, media=0, control=0):
        self.key, self.spaces = key, (Space(key, b"media", media), Space(key, b"control", control))

    def media(self, number, header, body):
        return self.spaces[0].seal(0x80 | header, self.receiver, number, body)

    def control(self, body):
        self.number += 1
        return self.spaces[1].seal(0x40, self.receiver, self.number - 1, body)


def root_of(caller_direction):
    return expand(caller_direction, b"parlo root", 32)


def rekey_message(kind, generation, public, media=0, control=0):
    return bytes([kind, generation & 0xFF]) + public + media.to_bytes(4, "big") + control.to_bytes(4, "big")


def agree(root, caller, listener):
    """The next generation's root and directions, of both sides' secrets for the exchange."""
    publics = public_of(caller) + public_of(listener)
    out = expand(extract(root, x25519(caller, public_of(listener))), b"parlo rekey" + publics, 96)
    return out[:32], out[32:64], out[64:]


def psk_text(psk):
    check = hashlib.sha256(b"parlo psk" + psk).digest()[:3]
    return "parlo-psk:" + base64.b32encode(psk + check).decode().lower().rstrip("=")
