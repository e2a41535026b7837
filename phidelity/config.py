"""Configuration: frozen, strict, self-documenting records that are written as TOML.

`Config` is the base of every table of a recipe. Unknown keys are refused, all mistakes are reported at once
with their path, and the docstring under a field is its description (docs/recipe.md is generated from them).
`UserError` is the one exception that the command line prints without a traceback: what was found, what was
expected, what to do.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class UserError(Exception):
    """A mistake the person can mend: says what was found, what was expected and what to do."""


class Interrupted(UserError):  # noqa: N818  (named for what happened)
    """What came from outside and says nothing against the settings: the same command goes on where the work stood."""


class Config(BaseModel):
    """Base of every configuration table: frozen, no unknown keys, no silent coercion of types."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )


C = TypeVar("C", bound=Config)
_WANTED = {
    "tuple_type": 'Expected a list, such as ["name"]',
    "dict_type": "Expected a table, such as { name = 1 }",
}
"""What TOML calls the types that a mistake may be about."""


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; a missing or malformed file is a `UserError` that names it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"No recipe at {path}. Give a path to a .toml file or the name of a packaged recipe.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path}: {error}. Expected a readable UTF-8 TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}. Mend that line.") from None


def override(data: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b=c` assignments to nested tables; `c` is read as TOML, else as a plain string.

    `table=none` leaves a table out.
    """
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()}
    for assignment in assignments:
        dotted, separator, text = assignment.partition("=")
        if not separator or not dotted.strip():
            raise UserError(f"--set {assignment!r} was given; expected table.key=value, e.g. pretrain.tokens=100000.")
        *tables, key = dotted.strip().split(".")
        table = result
        for name in tables:
            inner = table.get(name, {})
            if not isinstance(inner, Mapping):
                raise UserError(f"--set {assignment!r}: {name} is a value, not a table. Check the path.")
            table[name] = dict(inner)
            table = table[name]
        if text.strip() == "none" and isinstance(table.get(key), Mapping):
            del table[key]
        else:
            table[key] = _toml_value(text.strip())
    return result


def parse(cls: type[C], data: Mapping[str, Any], source: str) -> C:
    """Validate `data` as `cls`; every mistake is listed at once with its dotted path."""
    try:
        return cls.model_validate(_lists_to_tuples(data))
    except ValidationError as error:
        lines = [f"  {_path(item['loc'])}: {_explain(item)}" for item in error.errors()]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise UserError(f"{source} has {count}:\n" + "\n".join(lines)) from None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _lists_to_tuples(value: Any) -> Any:
    """TOML arrays become tuples, so that frozen configurations are hashable throughout."""
    if isinstance(value, Mapping):
        return {key: _lists_to_tuples(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(_lists_to_tuples(inner) for inner in value)
    return value


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "recipe"


def _explain(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown key. Remove it or check its spelling (docs/recipe.md lists all keys)."
    if item["type"] == "missing":
        return "missing. Add it."
    message = _WANTED.get(item["type"]) or item["msg"].removeprefix("Value error, ").rstrip(".")
    if isinstance(item["input"], Mapping) and item["type"] == "value_error":  # of a whole table: its keys say enough
        return f"{message[0].upper()}{message[1:]}."
    return f"found {item['input']!r}. {message[0].upper()}{message[1:]}."
