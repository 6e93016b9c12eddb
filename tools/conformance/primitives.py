"""What the wire is sealed with, from the standards alone and as slow as they read: X25519, ChaCha20-Poly1305, AES-128-CCM, HKDF."""

import hashlib
import hmac

PRIME = 2**255 - 19


def x25519(secret, public):
    """RFC 7748 section 5, by the ladder."""
    scalar = int.from_bytes(secret, "little") & ~7 & ((1 << 254) - 1) | (1 << 254)
    u = int.from_bytes(public, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for at in reversed(range(255)):
        bit = scalar >> at & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % PRIME, b * b % PRIME, d * a % PRIME, c * b % PRIME
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % PRIME, u * (da - cb) ** 2 % PRIME
        x2, z2 = aa * bb % PRIME, e * (aa + 121665 * e) % PRIME
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, PRIME - 2, PRIME) % PRIME).to_bytes(32, "little")


def public_of(secret):
    return x25519(secret, (9).to_bytes(32, "little"))


def chacha_block(key, counter, nonce):
    """RFC 8439 section 2.3."""
    words = lambda text: [int.from_bytes(text[n : n + 4], "little") for n in range(0, len(text), 4)]
    begin = words(b"expand 32-byte k") + words(key) + [counter] + words(nonce)
    state = list(begin)
    turn = lambda value, by: (value << by | value >> (32 - by)) & 0xFFFFFFFF

    def quarter(a, b, c, d):
        for x, y, z, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            state[z] = turn(state[z] ^ state[x], by)

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return b"".join(((a + b) & 0xFFFFFFFF).to_bytes(4, "little") for a, b in zip(begin, state))


def chacha_seal(key, number, text, data):
    """RFC 8439 section 2.8, with Noise's nonces (section 12.3)."""
    nonce = bytes(4) + number.to_bytes(8, "little")
    stream = b"".join(chacha_block(key, 1 + n, nonce) for n in range(-(-len(text) // 64)))
    sealed = bytes(a ^ b for a, b in zip(text, stream))
    once = chacha_block(key, 0, nonce)
    r = int.from_bytes(once[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    pad = lambda part: part + bytes(-len(part) % 16)
    message = pad(data) + pad(sealed) + len(data).to_bytes(8, "little") + len(sealed).to_bytes(8, "little")
    total = 0
    for n in range(0, len(message), 16):
        total = (total + int.from_bytes(message[n : n + 16] + b"\1", "little")) * r % (2**130 - 5)
    tag = (total + int.from_bytes(once[16:], "little")) & (2**128 - 1)
    return sealed + tag.to_bytes(16, "little")


def _times(a, b):
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a, b = (a << 1) ^ (0x11B if a & 0x80 else 0), b >> 1
    return product


def _box():
    inverse = [0] + [next(b for b in range(256) if _times(a, b) == 1) for a in range(1, 256)]
    turned = lambda x, by: (x << by | x >> (8 - by)) & 0xFF
    return [x ^ turned(x, 1) ^ turned(x, 2) ^ turned(x, 3) ^ turned(x, 4) ^ 0x63 for x in inverse]


BOX = _box()


def aes_block(key, block):
    """FIPS 197, 128-bit keys."""
    words, rcon = [list(key[n : n + 4]) for n in range(0, 16, 4)], 1
    for n in range(4, 44):
        word = list(words[-1])
        if n % 4 == 0:
            word = [BOX[x] for x in word[1:] + word[:1]]
            word[0] ^= rcon
            rcon = _times(rcon, 2)
        words.append([a ^ b for a, b in zip(words[n - 4], word)])
    keys = [sum(words[n : n + 4], []) for n in range(0, 44, 4)]
    state = [a ^ b for a, b in zip(block, keys[0])]
    for turn in range(1, 11):
        state = [BOX[state[(n + 4 * (n % 4)) % 16]] for n in range(16)]
        if turn < 10:
            mixed = []
            for column in range(0, 16, 4):
                a = state[column : column + 4]
                mixed += [_times(a[n], 2) ^ _times(a[(n + 1) % 4], 3) ^ a[(n + 2) % 4] ^ a[(n + 3) % 4] for n in range(4)]
            state = mixed
        state = [a ^ b for a, b in zip(state, keys[turn])]
    return bytes(state)


def ccm_seal(key, nonce, text, data):
    """RFC 3610 with tags of 8 bytes and nonces of 12."""
    flags = 0x40 | (8 - 2) // 2 << 3 | (3 - 1)
    mac = bytes([flags]) + nonce + len(text).to_bytes(3, "big")
    data = len(data).to_bytes(2, "big") + data
    pad = lambda part: part + bytes(-len(part) % 16)
    blocks, total = mac + pad(data) + pad(text), bytes(16)
    for n in range(0, len(blocks), 16):
        total = aes_block(key, bytes(a ^ b for a, b in zip(total, blocks[n : n + 16])))
    counter = lambda n: aes_block(key, bytes([2]) + nonce + n.to_bytes(3, "big"))
    stream = b"".join(counter(1 + n) for n in range(-(-len(text) // 16)))
    return bytes(a ^ b for a, b in zip(text, stream)) + bytes(a ^ b for a, b in zip(total[:8], counter(0)))


def extract(salt, secret):
    """RFC 5869 section 2.2, SHA-256."""
    return hmac.digest(salt, secret, "sha256")


def expand(key, label, length):
    """RFC 5869 section 2.3, SHA-256."""
    out, last, n = b"", b"", 1
    while len(out) < length:
        last = hmac.digest(key, last + label + bytes([n]), "sha256")
        out, n = out + last, n + 1
    return out[:length]


def noise_hkdf(chain, secret, outputs):
    """Noise section 4.3, BLAKE2s."""
    mac = lambda key, text: hmac.digest(key, text, lambda part=b"": hashlib.blake2s(part))
    key, out, last = mac(chain, secret), [], b""
    for n in range(1, outputs + 1):
        last = mac(key, last + bytes([n]))
        out.append(last)
    return out
