import numpy as np
import pytest

from phidelity.config import UserError
from phidelity.data.shards import groups, open_shard, write_shard

DOCUMENTS = [("a", [1, 2, 100_255]), ("b", [3]), ("c", [4, 5, 6, 7])]


@pytest.fixture
def folder(tmp_path):
    write_shard(tmp_path, "web", DOCUMENTS, tokenizer="t")
    return tmp_path


def test_what_is_written_is_read_document_by_document(folder):
    shard = open_shard(folder, "web")
    starts = [0, *shard.ends[:-1]]
    read = [shard.tokens[start:end].tolist() for start, end in zip(starts, shard.ends, strict=True)]
    assert read == [tokens for _, tokens in DOCUMENTS]
    assert (shard.n_documents, shard.n_tokens, shard.tokenizer) == (3, 8, "t")
    assert (folder / "web.ids.txt").read_text() == "a\nb\nc\n"
    assert (folder / "web.bin").read_bytes()[:4] == b"\x01\0\0\0"


def test_the_same_documents_give_the_same_bytes(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_shard(other, "web", iter(DOCUMENTS), tokenizer="t")
    for path in folder.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_a_missing_shard_names_those_that_are_there(folder):
    assert groups(folder) == ["web"]
    with pytest.raises(UserError, match=r"No shard 'code'.*there are web"):
        open_shard(folder, "code")


def test_a_truncated_shard_is_refused(folder):
    path = folder / "web.bin"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"web\.bin is damaged: 28 bytes were found, 32 expected"):
        open_shard(folder, "web")


def test_a_changed_token_is_found_by_its_hash(folder):
    path = folder / "web.bin"
    path.write_bytes(b"\x09" + path.read_bytes()[1:])
    with pytest.raises(UserError, match="do not match their hash"):
        open_shard(folder, "web")


@pytest.mark.parametrize("ends", [[3, 4], [3, 4, 9], [2, 4, 8]])
def test_an_index_of_other_tokens_is_refused(folder, ends):
    np.save(folder / "web.ends.npy", np.array(ends))
    with pytest.raises(UserError, match="boundaries"):
        open_shard(folder, "web")


def test_a_cut_off_index_is_refused(folder):
    path = folder / "web.ends.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match="index cannot be read"):
        open_shard(folder, "web")


def test_an_empty_shard_can_be_read(tmp_path):
    write_shard(tmp_path, "web", [], tokenizer="t")
    assert open_shard(tmp_path, "web").n_tokens == 0
