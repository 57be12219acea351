"""Sizes of codes and scales of other quantizers under the streams of scheme `lossless` (Specs/lossless.md, "Codes of other quantizers").

    python3 codes.py

The weights are pseudorandom: normal, and Student's t with 5 degrees of freedom, whose tails are as heavy as those of many trained
matrices. It needs numpy, ml_dtypes and zstandard.
"""

import ml_dtypes
import numpy as np
import zstandard

CHUNK = 262144  # elements
ROWS, COLUMNS = 2048, 4096
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
FRAME = zstandard.ZstdCompressor(
    compression_params=zstandard.ZstdCompressionParameters.from_level(1, min_match=7, hash_log=6)
)


def stored(plain):
    """Bytes of a stream: zstd if it is shorter, else the plain form."""
    return min(len(plain), len(FRAME.compress(plain)))


def planes(array):
    chunks = [array[at : at + CHUNK].view(np.uint8).reshape(-1, array.itemsize) for at in range(0, array.size, CHUNK)]
    return sum(stored(chunk[:, plane].tobytes()) for chunk in chunks for plane in range(array.itemsize))


def plain(array):
    return sum(stored(array[at : at + CHUNK].tobytes()) for at in range(0, array.size, CHUNK))


def entropy(array):
    """Bits of all bytes by their order-0 entropy."""
    counts = np.bincount(array.view(np.uint8).reshape(-1), minlength=256)
    share = counts[counts > 0] / counts.sum()
    return -(share * np.log2(share)).sum() * array.nbytes


def report(name, array, codes):
    array = np.ascontiguousarray(array).reshape(-1)
    sizes = [entropy(array), 8 * planes(array)] + ([8 * plain(array)] if array.itemsize > 1 else [])
    print(f"{name:34s}" + "".join(f"{bits / codes:9.4f}" for bits in sizes) + f"{sizes[1] / (8 * array.nbytes):9.1%}")


def packed(codes, bits):
    """Codes of a row as one stream of bits, low bits first, in words of 32 bits."""
    flat = codes[..., None] >> np.arange(bits, dtype=np.uint8) & 1
    return np.packbits(flat.astype(np.uint8).reshape(len(codes), -1), axis=1, bitorder="little").view(np.uint32)


def pairs(codes):
    return codes.reshape(-1)[0::2] | codes.reshape(-1)[1::2] << 4


def grouped(weights, size, largest):
    """Groups of a row, and their scales."""
    groups = weights.reshape(-1, size)
    return groups, np.abs(groups).max(1, keepdims=True) / largest


def fp4(groups, scales):
    values = groups / scales
    return np.abs(np.abs(values)[..., None] - FP4).argmin(-1).astype(np.uint8) | (values < 0).astype(np.uint8) << 3


def report_weights(name, weights):
    blocks = weights.reshape(ROWS // 128, 128, COLUMNS // 128, 128)
    codes = blocks / (np.abs(blocks).max((1, 3), keepdims=True) / 448)
    report(f"{name}, FP8 E4M3, blocks 128 x 128", codes.astype(ml_dtypes.float8_e4m3fn).view(np.uint8), weights.size)
    groups, scales = grouped(weights, COLUMNS, 57344)
    report(f"{name}, FP8 E5M2, rows", (groups / scales).astype(ml_dtypes.float8_e5m2).view(np.uint8), weights.size)
    groups, scales = grouped(weights, COLUMNS, 127)
    report(f"{name}, I8, rows", np.rint(groups / scales).astype(np.int8), weights.size)
    groups, scales = grouped(weights, 32, 1)
    exponents = np.floor(np.log2(scales)) - 2
    report(f"{name}, MXFP4", pairs(fp4(groups, np.exp2(exponents))), weights.size)
    report(f"{name}, scales of MXFP4", (exponents + 127).astype(np.uint8), exponents.size)
    groups, scales = grouped(weights, 16, 6)
    whole = np.abs(weights).max() / (6 * 448)
    scales = (scales / whole).astype(ml_dtypes.float8_e4m3fn)
    report(f"{name}, NVFP4", pairs(fp4(groups, scales.astype(np.float32) * whole)), weights.size)
    report(f"{name}, scales of NVFP4", scales.view(np.uint8), scales.size)
    for bits, size in ((4, 32), (4, 128), (3, 128), (2, 128)):
        half = 1 << bits - 1
        groups, scales = grouped(weights, size, half - 0.5)
        codes = np.clip(np.rint(groups / scales) + half, 0, 2 * half - 1).astype(np.uint8).reshape(ROWS, COLUMNS)
        report(f"{name}, U32, {bits} bits, group {size}", packed(codes, bits), weights.size)


def main():
    rng = np.random.default_rng(0)
    print(f"{'bits for each code':34s}{'entropy':>9s}{'planes':>9s}{'bytes':>9s}{'size':>9s}")
    report_weights("normal", rng.standard_normal((ROWS, COLUMNS)).astype(np.float32))
    report_weights("t5", rng.standard_t(5, (ROWS, COLUMNS)).astype(np.float32))
    order = (np.arange(14336) // 128).astype(np.int32)
    report("I32, g_idx in order", order, order.size)
    report("I32, g_idx of act-order", rng.permutation(order), order.size)


if __name__ == "__main__":
    main()
