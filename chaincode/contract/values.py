"""Typed values: from JSON to Python by annotations.

A type is compiled once into a plain function; a bulk of 500 records then costs a few microseconds
for each. Decoding is strict: no number with a fraction where an integer is meant, no text where a
number is, no unknown, missing or repeated field, dates as `YYYY-MM-DD`. A refusal names the path
(`payments[3].amount_paisa`) and never the value, which may be somebody's number.

Understood: `str`, `int` (64 bits unless bounded otherwise), `bool`, `float` (only where a contract
says so), `None`, `date`, aware `datetime` in UTC, `Enum`, `Literal`, dataclasses, `list[T]`,
`tuple[T, ...]`, `tuple[A, B]`, `dict[str, T]`, `T | None`, `T | Malformed`, and
`Annotated[T, MaxLength | MaxItems | Bounds | Pattern]`. Money is an `int` of paisa: there is no
Decimal. The way back is `canonical`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Sequence
from datetime import date, datetime
from enum import Enum
from threading import RLock
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar, cast

from chaincode.contract.bounds import Bounds, Malformed, MaxItems, MaxLength, Pattern
from chaincode.contract.scalars import (
    INT64,
    MAX_DEPTH,
    MAX_TEXT,
    Decode,
    TooDeep,
    WrongValue,
    anything,
    boolean,
    choice,
    integer,
    iso_date,
    null,
    number,
    spelled,
    text,
    utc_time,
    verify_depth,
    verify_text,
    want,
)
from chaincode.errors import ArgumentRefusal, ContractDefinitionError, ContractRefusal

MAX_ITEMS: Final = 10_000
"""Entries of a list or an object that carries no `MaxItems` of its own."""

T = TypeVar("T")


def decode_json(kind: type[T], raw: bytes | str, what: str = "value") -> T:
    """Decode *raw* as JSON of type *kind*; *what* names it in a refusal.

    Raises:
        ArgumentRefusal: it is not JSON, or not of that type.
    """
    return cast(T, decode_with(decoder_of(kind), raw, what))


def decode_with(decode: Decode, raw: bytes | str, what: str) -> Any:
    """Decode *raw* as JSON with a compiled decoder; see `decode_json`."""
    try:
        return decode(parse_json(raw))
    except WrongValue as wrong:
        raise ArgumentRefusal(
            what + wrong.place, wrong.reason, "correct it and send it again"
        ) from None
    except TooDeep:
        raise ArgumentRefusal(
            what, f"is nested more than {MAX_DEPTH} deep", "send it in a flatter form"
        ) from None


def parse_json(raw: bytes | str) -> Any:
    """Parse JSON strictly: UTF-8, no repeated names, no NaN, no endless nesting."""
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8")
        return _parse(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            raise WrongValue(f"is not JSON (line {error.lineno}, column {error.colno})") from None
        raise WrongValue("is not JSON in UTF-8 without repeated names") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name stands twice")
    return unique


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("not a number")


def _finite(spelled: str) -> float:
    value = float(spelled)
    if not -math.inf < value < math.inf:
        raise ValueError("not a number that can be held")
    return value


_parse = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
).decode


_decoders: dict[Any, Decode] = {}
"""Those that are complete, as any thread may use them."""
_begun: dict[Any, Decode] = {}
"""Those of the compilation under way, which the thread that holds `_compiling` alone may see."""
_nested: list[Any] = []
_compiling = RLock()


def decoder_of(kind: Any) -> Decode:
    """Return the compiled decoder of a type.

    Raises:
        ContractDefinitionError: the type cannot be decoded.
    """
    try:
        found = _decoders.get(kind)
    except TypeError:
        raise ContractDefinitionError(f"{kind!r} is not a type that JSON can be read as") from None
    return _compiled(kind) if found is None else found


def _compiled(kind: Any) -> Decode:
    """Compile a type, and what it is made of; no other thread sees any of it before all is done."""
    with _compiling:
        found = _decoders.get(kind) or _begun.get(kind)
        if found is not None:
            return found
        is_outermost = not _nested
        _nested.append(kind)
        try:
            found = _begun[kind] = _compile(kind)
            if is_outermost:
                _decoders.update(_begun)
        finally:
            _nested.pop()
            if is_outermost:
                _begun.clear()
        return found


def _compile(kind: Any) -> Decode:
    origin = typing.get_origin(kind)
    if origin is Annotated:
        base, *marks = typing.get_args(kind)
        return _bounded(base, marks)
    if origin is None:
        return _compile_plain(kind)
    args = typing.get_args(kind)
    if origin is Literal:
        return choice({value: value for value in args})
    if origin is typing.Union or origin is types.UnionType:
        return _union(args)
    if origin in (list, Sequence):
        return _list(decoder_of(args[0]), MAX_ITEMS)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            items = _list(decoder_of(args[0]), MAX_ITEMS)
            return lambda value: tuple(items(value))
        return _fixed_tuple([decoder_of(arg) for arg in args])
    if origin is dict and args[0] is str:
        return _mapping(decoder_of(args[1]), MAX_ITEMS)
    raise ContractDefinitionError(f"{kind!r} is not a type that JSON can be read as")


def _compile_plain(kind: Any) -> Decode:
    simple: dict[Any, Decode] = {
        str: text(MAX_TEXT, None),
        int: integer(-INT64, INT64 - 1),
        bool: boolean,
        float: number,
        None: null,
        type(None): null,
        date: iso_date,
        datetime: utc_time,
        object: anything,
    }
    if kind in simple:
        return simple[kind]
    if isinstance(kind, type):
        if issubclass(kind, Enum):
            return choice({member.value: member for member in kind})
        if dataclasses.is_dataclass(kind):
            return _dataclass(kind)
    raise ContractDefinitionError(f"{kind!r} is not a type that JSON can be read as")


def _bounded(base: Any, marks: list[Any]) -> Decode:
    decode: Decode | None = None
    if base is str:
        longest, pattern = MAX_TEXT, None
        for mark in marks:
            if isinstance(mark, MaxLength):
                longest = mark.length
            elif isinstance(mark, Pattern):
                pattern = mark
        return text(longest, pattern)
    for mark in marks:
        if isinstance(mark, Bounds) and base is int:
            decode = integer(mark.minimum, mark.maximum)
        elif isinstance(mark, MaxItems):
            decode = _at_most(decoder_of(base), mark.items)
    return decode or decoder_of(base)


def _at_most(decode: Decode, items: int) -> Decode:
    def bounded(value: Any) -> Any:
        if isinstance(value, (list, dict)) and len(value) > items:
            raise WrongValue(f"has {len(value)} entries; at most {items} are taken at a time")
        return decode(value)

    return bounded


def _list(decode: Decode, most: int) -> Decode:
    def items(value: Any) -> list[Any]:
        if type(value) is not list:
            want("a list", value)
        if len(value) > most:
            raise WrongValue(f"has {len(value)} entries; at most {most} are taken at a time")
        decoded: list[Any] = []
        try:
            for item in value:
                decoded.append(decode(item))
        except WrongValue as wrong:
            wrong.path.append(f"[{len(decoded)}]")
            raise
        return decoded

    return items


def _fixed_tuple(decoders: list[Decode]) -> Decode:
    def items(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(decoders):
            raise WrongValue(f"must be a list of {len(decoders)}")
        decoded: list[Any] = []
        try:
            for decode, item in zip(decoders, value, strict=True):
                decoded.append(decode(item))
        except WrongValue as wrong:
            wrong.path.append(f"[{len(decoded)}]")
            raise
        return tuple(decoded)

    return items


def _mapping(decode: Decode, most: int) -> Decode:
    def mapping(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            want("an object", value)
        if len(value) > most:
            raise WrongValue(f"has {len(value)} entries; at most {most} are taken at a time")
        decoded = {}
        for name, item in value.items():
            try:
                if len(name) > MAX_TEXT:
                    raise WrongValue(f"has a name of more than {MAX_TEXT} characters")
                verify_text(name)
                decoded[name] = decode(item)
            except WrongValue as wrong:
                wrong.path.append(spelled(name))
                raise
        return decoded

    return mapping


def _union(args: tuple[Any, ...]) -> Decode:
    rest = [arg for arg in args if arg is not type(None) and arg is not Malformed]
    if len(rest) != 1:
        raise ContractDefinitionError("only T | None and T | Malformed can be read from JSON")
    decode = decoder_of(rest[0])
    if type(None) in args:
        inner = decode

        def optional(value: Any) -> Any:
            return None if value is None else inner(value)

        decode = optional
    if Malformed in args:
        strict = decode

        def lenient(value: Any) -> Any:
            try:
                return strict(value)
            except WrongValue as wrong:
                place = wrong.place.lstrip(".")
                reason = f"{place}: {wrong.reason}" if place else wrong.reason
                return Malformed(reason, _writable(value))

        decode = lenient
    return decode


def _writable(value: Any) -> Any:
    """Return *value* if whatever is taken from it can be written again, else None."""
    try:
        verify_depth(value)
    except WrongValue:
        return None
    return value


_REQUIRED: Final = object()


def _dataclass(kind: type) -> Decode:
    slot: list[Decode] = []
    # A dataclass may name itself in a field, which finds this before its fields are compiled.
    _begun[kind] = lambda value: slot[0](value)
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
        specs = tuple(
            (f.name, decoder_of(hints[f.name]), _default_of(kind, f))
            for f in dataclasses.fields(kind)
        )
    except (NameError, ContractDefinitionError) as error:
        del _begun[kind]
        raise ContractDefinitionError(f"{kind.__name__}: {error}") from None
    keyword_only = any(f.kw_only for f in dataclasses.fields(kind))
    names = frozenset(name for name, _, _ in specs)
    count = len(specs)

    def record(value: Any) -> Any:
        if type(value) is not dict:
            want("an object", value)
        values: list[Any] = []
        absent = 0
        name = ""
        try:
            for name, decode, default in specs:
                if name in value:
                    values.append(decode(value[name]))
                elif default is _REQUIRED:
                    raise WrongValue("is missing")
                else:
                    values.append(default)
                    absent += 1
        except WrongValue as wrong:
            wrong.path.append("." + name)
            raise
        if len(value) + absent != count:
            _refuse_unknown(value, names)
        try:
            if keyword_only:
                return kind(**{spec[0]: item for spec, item in zip(specs, values, strict=True)})
            return kind(*values)
        except ContractRefusal as refusal:
            raise WrongValue(str(refusal)) from None

    slot.append(record)
    return record


def _default_of(kind: type, field: dataclasses.Field[Any]) -> object:
    if not field.init:
        raise ContractDefinitionError(f"field {field.name} is not set by the constructor")
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
        if default not in ((), frozenset()):
            raise ContractDefinitionError(f"the default of field {field.name} could be changed")
        return default
    return _REQUIRED if field.default is dataclasses.MISSING else field.default


def _refuse_unknown(value: dict[str, Any], known: frozenset[str]) -> NoReturn:
    unknown = next(name for name in value if name not in known)
    wrong = WrongValue("is not a field that is known here")
    wrong.path.append(spelled(unknown))
    raise wrong
