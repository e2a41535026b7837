"""A model folder in the Hugging Face layout: the published release, its re-saved copies, and our own checkpoints.

config.json, the tokenizer's files, and safetensors in one file or in shards listed by model.safetensors.index.json;
a layer may straddle shards. Both layouts are read as our fused parameters, and every name, shape and dtype is checked
against config.json before a weight is read. Pickled weights are never opened, whatever they are called.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from phidelity.checkpoint import naming
from phidelity.checkpoint.naming import Piece, foreign_config, generation_config, read_config, read_json
from phidelity.checkpoint.release import release_notes
from phidelity.checkpoint.tensors import Stored, TensorFile, write_tensors
from phidelity.checkpoint.weights import check_vocabulary, expected_shapes, file_digest
from phidelity.config import UserError
from phidelity.model.transformer import Transformer
from phidelity.records import write_json
from phidelity.tokenizer.bpe import Tokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


class FolderWeights:
    """The `Weights` of a Hugging Face folder."""

    def __init__(self, folder: Path, source: str = "") -> None:
        self.folder = folder
        self.source = source or str(folder)
        self.config = read_config(folder)
        self.tokenizer = Tokenizer.load(folder)
        check_vocabulary(self.source, self.config, self.tokenizer)
        self.shapes = expected_shapes(self.config)
        self.files = _files(folder)
        self._place = _places(folder, self.files)
        self.layout: naming.Layout = "fused" if any("qkv_proj" in name for name in self._place) else "split"
        self._pieces = naming.pieces(self.config, self.shapes, self.layout)
        self._check_tensors()
        self.notes = (*release_notes(folder, self.tokenizer), *self.tokenizer.notes)

    @property
    def form(self) -> str:
        """For example `Hugging Face folder, fused, bfloat16, 6 shards`."""
        dtypes = sorted({str(file.tensors[name].dtype).removeprefix("torch.") for name, file in self._place.items()})
        n = len(self.files)
        return f"Hugging Face folder, {self.layout}, {' and '.join(dtypes)}, {n} {'file' if n == 1 else 'shards'}"

    @property
    def digest(self) -> str:
        """Hash of the weight files."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return file_digest(self.files)

    def dtype_of(self, name: str) -> torch.dtype:
        """The dtype that `rows` gives: as stored."""
        dtypes = [self._stored(piece).dtype for piece in self._pieces[name]]
        return dtypes[0] if len(set(dtypes)) == 1 else torch.float32

    def label(self, name: str) -> str:
        """File and published name of a parameter."""
        first = self._pieces[name][0].name
        names = " and ".join(piece.name for piece in self._pieces[name])
        return f"{self._place[first].path}: {names}"

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of a parameter, put together from the tensors that hold them."""
        parts, at = [], 0
        for piece in self._pieces[name]:
            low, high = max(start - at, 0), min(stop - at, piece.n_rows)
            if low < high:
                parts.append(self._place[piece.name].rows(piece.name, low, high).to(self.dtype_of(name)))
            at += piece.n_rows
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _stored(self, piece: Piece) -> Stored:
        return self._place[piece.name].tensors[piece.name]

    def _check_tensors(self) -> None:
        expected = {piece.name: piece.n_rows for parts in self._pieces.values() for piece in parts}
        where = self.folder / (INDEX if len(self.files) > 1 else self.files[0].name)
        for kind, odd in (
            ("missing", expected.keys() - self._place.keys()),
            ("unexpected", self._place.keys() - expected.keys()),
        ):
            if odd:
                listed = ", ".join(sorted(odd)[:3]) + (", ..." if len(odd) > 3 else "")
                count = "1 tensor is" if len(odd) == 1 else f"{len(odd)} tensors are"
                raise UserError(
                    f"{where}: {count} {kind}: {listed}. Expected the {len(expected)} of a {self.layout} phi-4 network."
                )
        for name, parts in self._pieces.items():
            for piece in parts:
                shape = (piece.n_rows, *self.shapes[name][1:])
                if self._stored(piece).shape != shape:
                    found = f"{piece.name} has shape {self._stored(piece).shape}; config.json makes it {shape}"
                    path = self._place[piece.name].path
                    raise UserError(f"{path}: {found}. Weights and config do not belong together.")


def save_checkpoint(folder: Path, model: Transformer, tokenizer: Tokenizer) -> None:
    """Write a trained model as a folder that `transformers` and we can open; the weights last, each file atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
    write_json(folder / "config.json", foreign_config(model.config, tokenizer))
    write_json(folder / "generation_config.json", generation_config(tokenizer))
    state = {naming.foreign_name(name): tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    write_tensors(folder / WEIGHTS, shapes, torch.float32, lambda name: [state[name]])


def index_files(folder: Path) -> list[str]:
    """Names of the weight files that a folder's index lists; any but a plain name is refused."""
    index = read_json(folder / INDEX)
    if index is None:
        raise UserError(
            f"No weights at {folder}: expected {WEIGHTS} or {INDEX}. Pickled weights (.bin, .pt) are never read."
        )
    names = sorted(set(_weight_map(folder / INDEX, index).values()))
    for name in names:
        if not _is_plain(name):
            raise UserError(f"{folder / INDEX} names {name!r}; expected a safetensors file beside it. It is refused.")
    return names


def _files(folder: Path) -> list[Path]:
    """The weight files of a folder: the one, or those that the index lists."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    paths = [folder / name for name in index_files(folder)]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{folder / INDEX} names {path.name}, which is not there. Fetch the missing file.")
    return paths


def _places(folder: Path, files: list[Path]) -> dict[str, TensorFile]:
    """Which file holds each foreign tensor; files and index must agree."""
    place: dict[str, TensorFile] = {}
    for path in files:
        file = TensorFile(path)
        for name in file.tensors:
            if name in place:
                raise UserError(f"{name} lies in {place[name].path.name} and in {path}; expected one. Fetch again.")
            place[name] = file
    if files == [folder / WEIGHTS]:
        return place
    for name, file in _weight_map(folder / INDEX, read_json(folder / INDEX) or {}).items():
        if name not in place or place[name].path.name != file:
            found = f"it is in {place[name].path.name}" if name in place else "no file holds it"
            raise UserError(f"{folder / INDEX} says that {name} is in {file}; {found}. Fetch the files again.")
    return place


def _weight_map(path: Path, index: Mapping[str, object]) -> dict[str, str]:
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise UserError(f"{path} has no weight_map of tensors to files. Fetch it again.")
    return weight_map


def _is_plain(name: str) -> bool:
    """Whether a name from an index is that of a safetensors file in the same folder, and no way out of it."""
    return PurePosixPath(name).name == name and "\\" not in name and name.endswith(".safetensors")
