"""Stand-ins for pydantic and zstandard, for machines that have torch, numpy and transformers and cannot install more.

Only what importing the engine needs: classes with annotated fields and defaults. Nothing is validated, so nothing but a
benchmark whose inputs are its own may use it. Where the real packages are installed they are used.
"""

import importlib.util
import inspect
import sys
from types import ModuleType
from typing import Any, ClassVar


class _Field:
    def __init__(self, default: Any) -> None:
        self.default = default


class BaseModel:
    """Annotated fields become attributes; given values go before defaults."""

    model_fields: ClassVar[dict[str, _Field]] = {}

    def __init_subclass__(cls, **_: Any) -> None:
        own = [name for name in inspect.get_annotations(cls) if name != "model_config"]
        fields = {name: _Field(_default(cls.__dict__.get(name))) for name in own}
        cls.model_fields = {**cls.model_fields, **fields}

    def __init__(self, **values: Any) -> None:
        for name, found in type(self).model_fields.items():
            setattr(self, name, values.get(name, found.default))

    def model_copy(self, update: dict[str, Any] | None = None) -> Any:
        """The same with some fields changed."""
        return type(self)(**{**self.__dict__, **(update or {})})


def _default(value: Any) -> Any:
    return value.default if isinstance(value, _Field) else value


def _field(default: Any = None, **_: Any) -> _Field:
    return _Field(default)


def _decorator(*given: Any, **_: Any) -> Any:
    return given[0] if len(given) == 1 and callable(given[0]) else lambda function: function


def stand_in() -> list[str]:
    """Put stand-ins in the place of what is missing; their names."""
    missing = [name for name in ("pydantic", "zstandard") if _is_missing(name)]
    for name in missing:
        sys.modules[name] = ModuleType(name)
    if "pydantic" in missing:
        decorators = ("field_validator", "model_validator", "model_serializer", "field_serializer")
        types = ("SerializerFunctionWrapHandler", "ValidationInfo", "TypeAdapter")
        names = {"BaseModel": BaseModel, "Field": _field, "ConfigDict": dict, "ValidationError": ValueError}
        names |= dict.fromkeys(decorators, _decorator) | dict.fromkeys(types, object)
        sys.modules["pydantic"].__dict__.update(names)
    return missing


def _is_missing(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is None
    except ValueError:
        return True
