"""Packed folders: what is written is read back, what is damaged is found and named, nothing crashes the reader."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf_world import CONFIG, HeldWeights

from phidelity.checkpoint.open import look, open_weights
from phidelity.checkpoint.packed import HEADER, WEIGHTS, PackedWeights, checksum, packed_bytes
from phidelity.checkpoint.weights import load
from phidelity.config import UserError
from phidelity.export.packed import write_packed
from phidelity.kernels.layout import Kind
from phidelity.model.attention import CausalAttend
from phidelity.model.config import PHI_4, ModelConfig

FORMS: tuple[Kind, ...] = ("q4", "q8")


@pytest.fixture(params=FORMS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_packed(HeldWeights(), tmp_path / "packed", request.param)
    return tmp_path / "packed"


def header(folder: Path, **changes: object) -> None:
    found = json.loads((folder / HEADER).read_text())
    (folder / HEADER).write_text(json.dumps(found | changes))


@pytest.mark.parametrize(("to", "largest"), [("q4", 0.006), ("q8", 4e-5)])
def test_a_packed_model_is_near_its_source(tmp_path: Path, to: Kind, largest: float) -> None:
    source = HeldWeights()
    write_packed(source, tmp_path / "packed", to)
    weights = open_weights(tmp_path / "packed")
    assert weights.config == source.config.model_copy(update={"init_std": weights.config.init_std})
    assert weights.form.startswith(f"packed, {to}, ")
    for name, (n_rows, *rest) in source.shapes.items():
        found, expected = weights.rows(name, 0, n_rows), source.state[name]
        assert (found - expected).square().mean() <= (largest * expected.square().mean() if rest else 0)
        assert torch.equal(weights.rows(name, 3, n_rows - 2), found[3 : n_rows - 2])


def test_what_serving_reads_is_what_rows_are_made_of(folder: Path) -> None:
    weights = PackedWeights(folder)
    data = (folder / WEIGHTS).read_bytes()
    read = weights.read()
    assert weights.n_bytes == len(data) == look(folder).n_bytes
    for name, entry in weights.entries.items():
        assert read[name].tobytes() == data[entry.offset : entry.offset + entry.n_bytes]
        assert read[name].ctypes.data % 64 == 0


def test_the_size_is_known_before_and_phi_4_fits_nine_gigabytes(folder: Path) -> None:
    weights = PackedWeights(folder)
    assert packed_bytes(CONFIG, weights.header["to"]) == weights.n_bytes
    assert packed_bytes(PHI_4, "q4") < 8.9e9
    assert packed_bytes(PHI_4, "q8") < 15.3e9


def test_odd_widths_are_filled_up(tmp_path: Path) -> None:
    config = ModelConfig(
        n_layers=1, d_model=40, n_heads=4, n_kv_heads=1, d_ff=50, vocab_size=401, context_len=64, rope_theta=1e4
    )
    source = HeldWeights(config)
    write_packed(source, tmp_path / "packed", "q8")
    model = load(open_weights(tmp_path / "packed")).model
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, source.state[name], atol=1e-3)


def test_conversion_is_streamed_from_any_form_with_equal_bytes(phi, tmp_path: Path) -> None:
    from checkpoint_world import random_checkpoint

    random_checkpoint(tmp_path / "hf")
    assert phi("convert", tmp_path / "hf", tmp_path / "m.gguf", "--to", "gguf").returncode == 0
    for source, out in (("hf", "a"), ("m.gguf", "b")):
        assert phi("convert", tmp_path / source, tmp_path / out, "--to", "q4").returncode == 0
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()


def test_convert_tells_bits_perplexity_and_divergence(phi, tmp_path: Path) -> None:
    from checkpoint_world import random_checkpoint

    random_checkpoint(tmp_path / "hf")
    (tmp_path / "text.txt").write_text("the cat sat on the mat and 12 cats sat there " * 40)
    kl = {}
    for to in FORMS:
        done = phi("convert", tmp_path / "hf", tmp_path / to, "--to", to, "--text", tmp_path / "text.txt", "--json")
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        kl[to] = facts["quality"]["kl"]
        assert abs(facts["quality"]["perplexity"] / facts["quality"]["source_perplexity"] - 1) < 0.2
    assert 0 < kl["q8"] < kl["q4"] < 0.1
    done = phi("convert", tmp_path / "hf", tmp_path / "c", "--to", "q4", "--calibrate", tmp_path / "text.txt")
    assert done.returncode == 0, done.stderr
    assert "bits a weight, calibrated" in done.stdout
    assert phi("convert", tmp_path / "hf", tmp_path / "d", "--to", "q8", "--calibrate", "x").returncode == 2
    assert phi("convert", tmp_path / "hf", tmp_path / "d", "--to", "q4", "--type", "f32").returncode == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": 2}, "version is 2; this version reads 1"),
        ({"layout": "8 rows"}, "layout is '8 rows'; this version reads '16 rows x 128 columns'"),
        ({"format": "other"}, "format is 'other'"),
        ({"to": "q3"}, "does not say what is stored"),
        ({"tensors": {}}, "missing or unknown"),
    ],
)
def test_another_version_or_layout_is_refused(folder: Path, changes: dict, told: str) -> None:
    header(folder, **changes)
    with pytest.raises(UserError, match=told):
        open_weights(folder)


def test_a_truncated_file_is_refused_before_anything_is_read(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-64])
    with pytest.raises(
        UserError, match=f"truncated or damaged: {len(data) - 64:,} bytes found, {len(data):,} expected"
    ):
        open_weights(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"no model\.packed"):
        open_weights(folder)


def test_every_flipped_bit_is_found_and_its_tensor_named(folder: Path, phi) -> None:
    path = folder / WEIGHTS
    whole = path.read_bytes()
    rng = random.Random(0)
    entries = PackedWeights(folder).entries
    for name in [*rng.sample(sorted(entries), 4), "norm.weight"]:
        data = bytearray(whole)
        data[entries[name].offset + rng.randrange(entries[name].n_bytes)] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        for use in (PackedWeights.read, lambda weights, name=name: weights.rows(name, 0, 1)):
            with pytest.raises(UserError, match=f"{name} is damaged: its bytes do not have the checksum"):
                use(PackedWeights(folder))
        if name == "norm.weight":
            done = phi("check", folder)
            assert done.returncode == 1
            assert f"{name} is damaged" in done.stdout


def test_checksums_see_order_and_length() -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, 3 << 20, dtype=np.uint8)
    swapped = np.concatenate((data[1 << 20 : 2 << 20], data[: 1 << 20], data[2 << 20 :]))
    found = {checksum(one) for one in (data, swapped, data[:-64], np.append(data, np.zeros(64, np.uint8)))}
    assert len(found) == 4


def test_whatever_happens_to_its_files_a_folder_opens_or_is_refused_in_words(folder: Path) -> None:
    """Fuzz: bytes of the small files changed, cut or put in; nothing but a `UserError` that names the folder."""
    rng = random.Random(0)
    n_opened = n_refused = 0
    for name in [HEADER] * 250 + ["config.json"] * 100:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(spoilt(whole, rng))
        try:
            PackedWeights(folder).rows("norm.weight", 0, 1)
            n_opened += 1
        except UserError as error:
            n_refused += str(folder) in str(error)
        (folder / name).write_bytes(whole)
    assert n_opened + n_refused == 350, "every refusal names the folder"
    assert n_refused > 200


def spoilt(whole: bytes, rng: random.Random) -> bytes:
    data = bytearray(whole)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randrange(1, 40)]
            case 2:
                data[at:at] = rng.choice((b"-", b"9" * 30, b"null", b"[", b'"', b"1e999", b"{}"))
            case _:
                data = data[:at]
        data = data or bytearray(b"{")
    return bytes(data)


@pytest.mark.parametrize("to", FORMS)
def test_the_served_model_gives_the_logits_of_its_dequantised_weights(tmp_path: Path, to: Kind) -> None:
    write_packed(HeldWeights(), tmp_path / "packed", to)
    weights = PackedWeights(tmp_path / "packed")
    served, plain = weights.load().model, load(weights).model
    tokens = torch.randint(0, CONFIG.vocab_size, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, expected = (
            model.logits(model(tokens, torch.arange(40).expand(2, -1), CausalAttend())) for model in (served, plain)
        )
    assert (found - expected).norm() < 0.02 * expected.norm(), "what kernels round besides"


def test_a_packed_model_answers(phi, folder: Path) -> None:
    done = phi("generate", folder, "--prompt", "the cat", "--raw", "--max-tokens", "8", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["tokens"]) > 0
    assert "fits" not in done.stderr
    done = phi("generate", folder, "--prompt", "the cat", "--memory", "1MB")
    assert done.returncode == 1
    assert "The model does not fit: --memory gives 1.0 MB" in done.stderr
