"""Tokenizer files: three sources of equal ids, re-saved copies put right and told, damage and hostility refused."""

import base64
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phidelity.config import UserError
from phidelity.export.huggingface import TOKENIZER_CLASS
from phidelity.records import Message
from phidelity.tokenizer.bpe import Tokenizer, train
from phidelity.tokenizer.chat import render
from phidelity.tokenizer.layout import CHAT_TEMPLATE, SPECIALS, spelt
from phidelity.tokenizer.side_files import template_kind
from phidelity.tokenizer.writers import merges

SMALL = train(["The cat has 12 keys and 345 more.\n\nDie Katze hat 7 Schlüssel." * 5], 420)
TEXT = "The cat has 12 keys.\n\n\nfoo.bar() 'LL Schlüssel <|im_end|>"

FIXED_TURN = "'<|im_start|>{role}<|im_sep|>' + message['content'] + '<|im_end|>"


def published_template(fixed: bool) -> str:
    """The templates of the release, put together from their parts: 462 and 377 characters."""

    def branch(word: str, role: str, body: str) -> str:
        return "{% " + f"{word} (message['role'] == '{role}')" + " %}{{" + body + "'}}"

    turn = {role: FIXED_TURN.format(role=role) for role in ("system", "user", "assistant")}
    if not fixed:
        turn["user"] += "<|im_start|>assistant<|im_sep|>"
        turn["assistant"] = "message['content'] + '<|im_end|>"
    words = zip(("if", "elif", "elif"), turn.items(), strict=True)
    body = "".join(branch(word, role, text) for word, (role, text) in words)
    end = "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}" if fixed else ""
    return "{% for message in messages %}" + body + "{% endif %}{% endfor %}" + end


def changed(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply `change` to the object in a JSON file."""
    path = folder / name
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    SMALL.save(tmp_path)
    return tmp_path


def as_gpt2_files(tokenizer: Tokenizer, folder: Path) -> Path:
    """vocab.json, merges.txt and added_tokens.json."""
    folder.mkdir(exist_ok=True)
    vocab = {spelt(token): rank for token, rank in tokenizer.ranks.items()}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    lines = [f"{spelt(left)} {spelt(right)}\n" for left, right in merges(tokenizer.ranks)]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(lines), encoding="utf-8")
    (folder / "added_tokens.json").write_text(json.dumps(tokenizer.special_ids))
    return folder


def test_a_saved_tokenizer_is_the_same_when_loaded_and_has_nothing_to_tell(folder: Path) -> None:
    loaded = Tokenizer.load(folder)
    assert loaded.digest == SMALL.digest
    assert loaded.encode(TEXT) == SMALL.encode(TEXT)
    assert loaded.notes == ()
    assert template_kind(folder) == "ours"
    assert Tokenizer.load(folder / "tokenizer.json").digest == SMALL.digest


def test_vocab_and_merges_give_the_same_tokenizer(tmp_path: Path) -> None:
    loaded = Tokenizer.load(as_gpt2_files(SMALL, tmp_path))
    assert (loaded.digest, loaded.notes) == (SMALL.digest, ())


def test_special_tokens_inside_the_vocabulary_are_not_taken_for_mergeable_ones(folder: Path) -> None:
    changed(folder, "tokenizer.json", lambda data: data["model"]["vocab"].update(SMALL.special_ids))
    assert Tokenizer.load(folder).digest == SMALL.digest


def test_three_sources_give_phi_4s_tokenizer(phi_4: Tokenizer, tmp_path: Path) -> None:
    phi_4.save(tmp_path / "json")
    from_json = Tokenizer.load(tmp_path / "json")
    from_vocab = Tokenizer.load(as_gpt2_files(phi_4, tmp_path / "gpt2"))
    assert from_json.digest == from_vocab.digest == phi_4.digest
    assert from_json.notes == from_vocab.notes == phi_4.notes == ()
    pairs = merges(phi_4.ranks)
    assert len(pairs) == 100_000
    assert pairs[:4] == [(b" ", b" "), (b"  ", b"  "), (b"i", b"n"), (b" ", b"t")], "as the published merges begin"


def test_ranks_of_another_hash_are_refused_with_both_hashes(tmp_path: Path) -> None:
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in SMALL.ranks.items())
    (tmp_path / "cl100k_base.tiktoken").write_text("".join(lines))
    with pytest.raises(UserError, match=r"sha256 [0-9a-f]{64} was found, 223921b7[0-9a-f]{56} expected"):
        Tokenizer.load(tmp_path)


def test_phi_4s_size_with_another_vocabulary_is_told(phi_4: Tokenizer, tmp_path: Path) -> None:
    tokens = list(phi_4.ranks)
    tokens[-1] = b"\xff\xfe\xfd"
    Tokenizer({token: rank for rank, token in enumerate(tokens)}).save(tmp_path)
    assert any("not cl100k_base's" in note for note in Tokenizer.load(tmp_path).notes)


GPT2_SPLIT = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def set_flags(data: dict[str, Any]) -> None:
    for token in data["added_tokens"]:
        token |= {"lstrip": True, "rstrip": True}


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("tokenizer_config.json", lambda data: data.update(tokenizer_class="GPT2TokenizerFast"), "GPT2TokenizerFast"),
        ("tokenizer_config.json", lambda data: data.update(tokenizer_class="LlamaTokenizerFast"), "LlamaTokenizerFast"),
        ("tokenizer_config.json", lambda data: data.update(add_prefix_space=True), "no space is put before"),
        ("tokenizer_config.json", lambda data: data.update(eos_token="<|endoftext|>"), r"eos_token is <\|endoftext\|>"),
        ("special_tokens_map.json", lambda data: data.update(pad_token={"content": "<|endoftext|>"}), "pad_token is"),
        ("special_tokens_map.json", lambda data: data.update(pad_token="<|dummy_87|>"), r"dummy_85\|> is used"),
        ("tokenizer_config.json", lambda data: data.update(chat_template=published_template(False)), "January 2025"),
        ("tokenizer_config.json", lambda data: data.update(chat_template="{{ 'a' }}"), "none that phi-4 was published"),
        ("tokenizer.json", lambda data: data.update(pre_tokenizer=GPT2_SPLIT), "splits text by GPT-2's own rule"),
        ("tokenizer.json", lambda data: data.update(pre_tokenizer=None), "no pattern that splits text"),
        ("tokenizer.json", lambda data: data.update(normalizer={"type": "NFC"}), "text is taken as it is"),
        ("tokenizer.json", lambda data: data["model"]["merges"].pop(), "1 tokens have no merge"),
        ("tokenizer.json", lambda data: data["model"].pop("merges"), "it holds no merges"),
        ("tokenizer.json", set_flags, "96 special tokens eat the whitespace beside them"),
        ("tokenizer.json", lambda data: data.update(added_tokens=[]), "96 special tokens are missing; put back"),
        ("tokenizer.json", lambda data: data["added_tokens"][94].update(content="<think>"), "is named '<think>'"),
    ],
)
def test_a_copy_that_was_saved_otherwise_gives_the_same_ids_and_says_so(folder: Path, name, change, told: str) -> None:
    changed(folder, name, change)
    loaded = Tokenizer.load(folder)
    assert loaded.encode(TEXT) == SMALL.encode(TEXT)
    assert loaded.special_ids == SMALL.special_ids
    assert len(loaded.notes) == 1
    assert re.search(told, loaded.notes[0])


def test_a_missing_or_wrong_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No tokenizer at .*vocab\.json and merges\.txt"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({spelt(token): rank for token, rank in SMALL.ranks.items()}))
    with pytest.raises(UserError, match=r"merges\.txt cannot be read"):
        Tokenizer.load(tmp_path)


def test_which_template_a_folder_carries_is_known_by_its_text(folder: Path) -> None:
    def kind(template: object) -> str:
        changed(folder, "tokenizer_config.json", lambda data: data.update(chat_template=template))
        return template_kind(folder)

    assert (len(published_template(True)), len(published_template(False))) == (462, 377)
    assert kind(published_template(True)) == "fixed"
    assert kind(published_template(False) + "\n") == "old"
    assert kind([{"name": "default", "template": published_template(True)}]) == "fixed"
    assert kind(None) == "none"
    assert kind(["x"]) == "none"
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    assert kind("other") == "ours", "the file of newer releases of transformers comes first"


def vocabulary(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda data: change(data["model"]["vocab"])


def renumber(data: dict[str, Any], name: str, token: object) -> None:
    data["model"]["vocab"][name] = token


LAST = spelt(max(SMALL.ranks, key=SMALL.ranks.__getitem__))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: renumber(data, LAST, 9999), "without a gap"),
        (lambda data: renumber(data, LAST, 7), "two tokens share one id"),
        (lambda data: renumber(data, LAST, -1), "without a gap"),
        (lambda data: renumber(data, LAST, "323"), "expected a whole number"),
        (lambda data: renumber(data, LAST, 1.5), "expected a whole number"),
        (lambda data: renumber(data, LAST, True), "expected a whole number"),
        (lambda data: renumber(data, LAST, None), "expected a whole number"),
        (lambda data: renumber(data, "▁the", 324), "spells no byte"),
        (lambda data: renumber(data, "", 324), "one token is empty"),
        (vocabulary(lambda vocab: vocab.update({"ab" * 40: vocab.pop("a")})), "of the 256 bytes have no token"),
        (vocabulary(lambda vocab: vocab.clear()), "no table of tokens"),
        (lambda data: data["model"].update(vocab=[1]), "no table of tokens"),
        (lambda data: data["model"].update(type="Unigram"), "model is 'Unigram'"),
        (lambda data: data.update(model=3), "model is 3"),
        (lambda data: data["model"]["merges"].reverse(), "vocabulary and merges do not belong together"),
        (lambda data: data["model"]["merges"].insert(0, ["z", "q"]), "do not belong together"),
        (lambda data: data["model"].update(merges=[["a", 1]]), "expected two parts"),
        (lambda data: data["model"].update(merges="abc"), "expected two parts"),
        (lambda data: data.update(added_tokens=[3]), "not a list of named ids"),
        (lambda data: data["added_tokens"][0].update(id="x"), "tokens of its own"),
        (lambda data: data["added_tokens"].append({"content": "<tool>", "id": 420}), "tokens of its own"),
        (lambda data: data["added_tokens"][9].update(id=325), r"<\|im_end\|> has id 325; expected 333"),
        (lambda data: data["added_tokens"][9].update(content="<end>"), r"'<end>'; expected <\|im_end\|>"),
    ],
)
def test_a_damaged_vocabulary_is_refused_by_what_is_wrong(folder: Path, change, told: str) -> None:
    changed(folder, "tokenizer.json", change)
    with pytest.raises(UserError, match=told) as refusal:
        Tokenizer.load(folder)
    assert "tokenizer.json" in str(refusal.value)
    assert len(str(refusal.value)) < 700


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"model": {"vocab": {"a": 5}}}', b"\xff\xfe", b"[" * 200_000, b"9" * 5000, b"[]", b'{"model": {"vo'],
    ids=["empty", "object", "one-token", "not-text", "nested", "number", "list", "cut-off"],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_a_giant_file_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="1,099,511,627,776 bytes; expected at most 33,554,432"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("seed", range(300))
def test_a_file_with_random_damage_is_read_or_refused_and_nothing_else(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = folder / rng.choice(("tokenizer.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"))
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(content))
        content[start : start + rng.randint(0, 3)] = rng.choice(
            (b"", b"0", b"-1", b'"', b"{}", b"[", b"null", b"1e9", b"\xff")
        )
    path.write_bytes(content)
    try:
        loaded = Tokenizer.load(folder)
    except UserError:
        return
    assert loaded.decode(loaded.encode(TEXT)) == TEXT


def test_giant_ranks_and_merges_are_refused_unread(tmp_path: Path) -> None:
    for name in ("cl100k_base.tiktoken", "merges.txt"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"tiktoken has 1,099,511,627,776 bytes"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({spelt(token): rank for token, rank in SMALL.ranks.items()}))
    with pytest.raises(UserError, match=r"merges\.txt has 1,099,511,627,776 bytes"):
        Tokenizer.load(tmp_path)


def test_a_damaged_file_beside_the_tokenizer_is_named(folder: Path) -> None:
    (folder / "special_tokens_map.json").write_text("{")
    with pytest.raises(UserError, match=r"special_tokens_map\.json is damaged"):
        Tokenizer.load(folder)


def test_transformers_reads_what_we_write_to_the_same_ids(folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    text = TEXT.removesuffix("<|im_end|>")
    assert theirs.encode(text) == SMALL.encode(text)
    assert theirs.convert_ids_to_tokens([SMALL.im_end, SMALL.pad]) == [SPECIALS[9], SPECIALS[93]]


def test_transformers_splits_phi_4s_text_as_we_do_beside_either_configuration(phi_4: Tokenizer, tmp_path: Path) -> None:
    """Beside `llama`, transformers would take the release's class name for GPT-2's own pre-tokenizer."""
    from transformers import AutoTokenizer

    for layout, model_type in (("fused", "phi3"), ("split", "llama")):
        phi_4.save(tmp_path / layout, TOKENIZER_CLASS[layout])
        (tmp_path / layout / "config.json").write_text(json.dumps({"model_type": model_type}))
        theirs = AutoTokenizer.from_pretrained(tmp_path / layout)
        for text in ("3333 33333", "\n \n\n\t x", "I'VE 'RE isn't", "!!!\n\nfoo.bar()", "日本語 é\u00a0"):
            assert theirs.encode(text) == phi_4.encode(text), (layout, text)


def test_the_class_is_the_releases_and_transformers_still_splits_by_our_file(folder: Path) -> None:
    """llama.cpp's converter takes phi-4 as byte-level BPE only under this name; AutoTokenizer must not heed it."""
    from transformers import AutoTokenizer

    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "GPT2Tokenizer"
    (folder / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in ("foo.bar()", "x\n\n\ny", " 12345  é\u00a0", "日本語 ISN'T  \t\n"):
        assert theirs.encode(text) == SMALL.encode(text), text
    turns = [{"role": "user", "content": " Hi\n"}]
    chat = theirs.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert chat == render([Message(role="user", content=" Hi\n")], SMALL, generation_prompt=True).ids
