"""Ed25519's check of a signature (RFC 8032), which Python's standard library lacks: slow, and only for public data."""
import hashlib

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P)


def plus(a, b):
    """The sum of two points of the curve."""
    (x, y), (u, v) = a, b
    k = D * x * u * y * v
    return (x * v + u * y) * pow(1 + k, -1, P) % P, (y * v + x * u) * pow(1 - k, -1, P) % P


def times(n, a):
    """A point added to itself n times."""
    total = (0, 1)
    while n:
        total, a, n = plus(total, a) if n % 2 else total, plus(a, a), n // 2
    return total


def point(data):
    """The point that 32 bytes stand for; ValueError where they stand for none."""
    y = int.from_bytes(data, "little") & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if (x * x - square) % P == 0 else x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or y >= P:
        raise ValueError("no point of the curve")
    return (x if x % 2 == data[31] >> 7 else P - x), y


def signed(key, signature, text):
    """Whether a signature of 64 bytes under a text is that of a public key of 32 bytes."""
    s = int.from_bytes(signature[32:], "little")
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + text).digest(), "little") % L
    base = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    owner = point(key)
    try:
        commitment = point(signature[:32])
    except ValueError:  # A first half that is not a point belongs to no signature.
        return False
    return s < L and times(s, base) == plus(commitment, times(h, owner))
