"""The block formats: values by hand, a plain-loop reference for packed ones, and the rounding that is kept."""

import numpy as np
import pytest
import torch

from phidelity.checkpoint.blocks import BY_NAME, ENCODERS, decode, encode

HALF = np.float16(0.5).tobytes()


def decoded(name: str, raw: bytes) -> list[float]:
    form = BY_NAME[name]
    return decode(form, np.frombuffer(raw, np.uint8).copy(), len(raw) // form.bytes * form.values).flatten().tolist()


def test_q4_0_holds_the_first_half_of_a_block_in_low_nibbles() -> None:
    raw = HALF + bytes([0x80 | n for n in range(16)])
    assert decoded("Q4_0", raw) == [(n - 8) * 0.5 for n in range(16)] + [0.0] * 16


def test_q8_0_is_signed_bytes_times_a_scale() -> None:
    raw = HALF + np.arange(-16, 16, dtype=np.int8).tobytes()
    assert decoded("Q8_0", raw) == [n * 0.5 for n in range(-16, 16)]


def test_q4_k_unpacks_its_scales_and_minima() -> None:
    # Scales 1 to 8 and minima 33 to 40: six bits each, the last four with their high bits in the first eight bytes.
    scales, minima = range(1, 9), range(33, 41)
    low = [scales[n] | scales[n + 4] >> 4 << 6 for n in range(4)] + [
        minima[n] | minima[n + 4] >> 4 << 6 for n in range(4)
    ]
    high = [scales[n + 4] & 15 | (minima[n + 4] & 15) << 4 for n in range(4)]
    raw = HALF + np.float16(0.25).tobytes() + bytes(low + high) + bytes([0x73] * 128)
    expected = [0.5 * scales[n] * (7 if n % 2 else 3) - 0.25 * minima[n] for n in range(8) for _ in range(32)]
    assert decoded("Q4_K", raw) == expected


def test_q5_k_takes_its_fifth_bits_from_one_bit_plane_a_group() -> None:
    plane = bytes([0b10000010] * 32)  # groups 1 and 7
    raw = HALF + np.float16(0).tobytes() + bytes([1] * 4 + [0] * 4 + [1] * 4) + plane + bytes([0x73] * 128)
    expected = [0.5 * ((7 if n % 2 else 3) + (16 if n in (1, 7) else 0)) for n in range(8) for _ in range(32)]
    assert decoded("Q5_K", raw) == expected


def test_q6_k_joins_four_low_bits_and_two_high_ones() -> None:
    low, high = bytes([0x73] * 128), bytes([0b11100100] * 64)
    raw = low + high + np.arange(-8, 8, dtype=np.int8).tobytes() + HALF
    q = [3 - 32, 3 + 16 - 32, 7 + 32 - 32, 7 + 48 - 32] * 2  # of each 32 values
    assert decoded("Q6_K", raw) == [0.5 * (n // 16 - 8) * q[n // 32] for n in range(256)]


def reference(name: str, raw: bytes) -> list[float]:
    """Q4_K, Q5_K and Q6_K value by value."""

    def half(at: int) -> float:
        return float(np.frombuffer(raw[at : at + 2], np.float16)[0])

    values = []
    for n in range(256):
        if name == "Q6_K":
            i, j = n % 128 % 32, n % 128 // 32
            byte = raw[64 * (n // 128) + i + 32 * (j % 2)]
            high = raw[128 + 32 * (n // 128) + i] >> 2 * j & 3
            scale = np.frombuffer(raw[192 + n // 16 : 193 + n // 16], np.int8)[0]
            values.append(half(208) * int(scale) * (((byte >> 4 if j > 1 else byte & 15) | high << 4) - 32))
            continue
        group, packed = n // 32, raw[4:16]
        if group < 4:
            scale, minimum = packed[group] & 63, packed[group + 4] & 63
        else:
            scale = packed[group + 4] & 15 | packed[group - 4] >> 6 << 4
            minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4
        byte = raw[(48 if name == "Q5_K" else 16) + 32 * (group // 2) + n % 32]
        q = byte >> 4 if group % 2 else byte & 15
        q += 16 * (raw[16 + n % 32] >> group & 1) if name == "Q5_K" else 0
        values.append(half(0) * scale * q - half(2) * minimum)
    return values


@pytest.mark.parametrize("name", ["Q4_K", "Q5_K", "Q6_K"])
def test_packed_formats_equal_a_plain_loop_on_random_bytes(name: str) -> None:
    rng, form = np.random.default_rng(3), BY_NAME[name]
    for _ in range(20):
        raw = rng.integers(0, 256, form.bytes, dtype=np.uint8)
        for at in (208,) if name == "Q6_K" else (0, 2):
            raw[at : at + 2] = np.frombuffer(rng.normal(0, 0.01, 1).astype(np.float16).tobytes(), np.uint8)
        assert decoded(name, raw.tobytes()) == np.float32(reference(name, raw.tobytes())).tolist()


def block_of(*values: float) -> torch.Tensor:
    return torch.tensor([[*values] + [0.0] * (32 - len(values))])


def test_q8_0_rounds_halves_away_from_zero() -> None:
    values = (127.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, -126.5)
    raw = encode(BY_NAME["Q8_0"], block_of(*values))[0]
    assert raw[:2].view(torch.float16).item() == 1.0
    assert raw[2:10].view(torch.int8).tolist() == [127, 1, -1, 2, 3, -3, 0, -127]


def test_q4_0_adds_eight_and_a_half_and_truncates() -> None:
    raw = encode(BY_NAME["Q4_0"], block_of(-8.0, -7.5, 0.5, -0.5, 7.49, 7.5, 8.0, 1.4))[0]
    assert raw[:2].view(torch.float16).item() == 1.0
    assert (raw[2:10] & 15).tolist() == [0, 1, 9, 8, 15, 15, 15, 9]


def test_q4_0_takes_the_sign_of_the_first_largest_value() -> None:
    negative_first = encode(BY_NAME["Q4_0"], block_of(-4.0, 4.0))[0]
    positive_first = encode(BY_NAME["Q4_0"], block_of(4.0, -4.0))[0]
    assert negative_first[:2].view(torch.float16).item() == 0.5
    assert positive_first[:2].view(torch.float16).item() == -0.5


@pytest.mark.parametrize(("name", "step"), [("Q8_0", 1 / 127), ("Q4_0", 1 / 8)])
def test_quantising_is_off_by_at_most_a_step_and_repeats_exactly(name: str, step: float) -> None:
    form = BY_NAME[name]
    x = torch.randn(5000, 96, generator=torch.Generator().manual_seed(0)) * 0.02  # more than one chunk
    raw = encode(form, x)
    again = decode(form, raw.numpy().reshape(-1), 96)
    largest = x.view(-1, 32).abs().amax(1, keepdim=True)
    assert ((again - x).view(-1, 32).abs() <= 1.01 * step * largest).all()
    assert torch.equal(encode(form, again), raw)


def test_a_block_too_small_for_its_scale_becomes_zero() -> None:
    for name in ("Q8_0", "Q4_0"):
        for tiny in (0.0, 1e-30, 1e-42):
            raw = encode(BY_NAME[name], torch.full((1, 32), tiny))
            assert not decode(BY_NAME[name], raw.numpy().reshape(-1), 32).any()


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_plain_formats_are_the_values_themselves(name: str) -> None:
    form = BY_NAME[name]
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).to(form.dtype)
    assert torch.equal(decode(form, encode(form, x).numpy().reshape(-1), 5), x)
    assert set(ENCODERS) == {"F32", "F16", "BF16", "Q8_0", "Q4_0"}
