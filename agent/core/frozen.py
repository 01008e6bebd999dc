"""The decorator of this project's values: frozen dataclasses that cost little to make.

`dataclasses` compiles six methods for each frozen class: 0.8 ms and 10 KiB, for the 150 classes that a command reads
before its work and that an idle daemon holds for years. Only ``__init__`` differs between them. Here the others are the
same functions for all: 0.2 ms and 2 KiB. The rest is the standard library's, whose `fields`, `replace` and `asdict`
work as ever. Values whose fields are given by place are few, and are its own frozen classes.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class a dataclass of keyword arguments that is compared and hashed by all fields and cannot be changed.

    Methods of these that the class has itself are kept.
    """
    own = vars(cls).copy()
    made = dataclass(kw_only=True, eq=False, repr=False)(cls)
    for name, method in _SHARED.items():
        setattr(made, name, own.get(name, method))
    return made


class _Methods:
    """What all frozen classes share."""

    __dataclass_fields__: dict[str, Any]

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        shown = (name for name, known in self.__dataclass_fields__.items() if known.repr)
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__ or name not in self.__dataclass_fields__:  # `__init__` gives each field once
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


_SHARED = {name: method for name, method in vars(_Methods).items() if callable(method)}
