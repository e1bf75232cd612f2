"""Typed values: from JSON to Python by annotations, and back to canonical JSON.

A type is compiled once into a plain function; a bulk of 500 records then costs a few microseconds
for each. Decoding is strict: no number with a fraction where an integer is meant, no text where a
number is, no unknown, missing or repeated field, dates as `YYYY-MM-DD`. A refusal names the path
(`payments[3].amount_paisa`) and never the value, which may be somebody's number.

Understood: `str`, `int` (64 bits unless bounded otherwise), `bool`, `float` (only where a contract
says so), `None`, `date`, aware `datetime` in UTC, `Enum`, `Literal`, dataclasses, `list[T]`,
`tuple[T, ...]`, `tuple[A, B]`, `dict[str, T]`, `T | None`, `T | Malformed`, and
`Annotated[T, MaxLength | MaxItems | Bounds | Pattern]`. Money is an `int` of paisa: there is no
Decimal.

Canonical JSON: names sorted, no spaces, UTF-8, no NaN; of a dataclass, a field that is None and
may be left out (its default is None) is left out.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar, cast

from chaincode.errors import ArgumentRefusal, ContractDefinitionError, ContractRefusal

MAX_TEXT: Final = 4096
"""Characters of a text that carries no `MaxLength` of its own."""
MAX_ITEMS: Final = 10_000
"""Entries of a list or an object that carries no `MaxItems` of its own."""
_INT64: Final = 2**63

T = TypeVar("T")
Decode = Callable[[Any], Any]
"""From what `json.loads` gives to a value of the declared type; raises `_WrongValue`."""


@dataclasses.dataclass(frozen=True, slots=True)
class MaxLength:
    """Longest text, in characters."""

    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class MaxItems:
    """Most entries of a list or an object."""

    items: int


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Smallest and largest integer, both allowed."""

    minimum: int
    maximum: int


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """Regular expression that a whole text must match, and what to call it in a refusal."""

    expression: str
    meaning: str


@dataclasses.dataclass(frozen=True, slots=True)
class Malformed:
    """Stands for a record of a bulk that is not of its type, so that the good ones go on.

    `list[PaymentInput | Malformed]` decodes every record by itself.

    Attributes:
        message: path and reason, without the value.
        raw: what the JSON held, for reading its id; do not print it.
    """

    message: str
    raw: object = dataclasses.field(repr=False)


class _WrongValue(Exception):
    """A value is not of its type; the path grows from the inside out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    @property
    def place(self) -> str:
        return "".join(reversed(self.path))


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
    except _WrongValue as wrong:
        raise ArgumentRefusal(
            what + wrong.place, wrong.reason, "correct it and send it again"
        ) from None


def parse_json(raw: bytes | str) -> Any:
    """Parse JSON strictly: UTF-8, no repeated names, no NaN, no endless nesting."""
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8")
        return _parse(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            raise _WrongValue(f"is not JSON (line {error.lineno}, column {error.colno})") from None
        raise _WrongValue("is not JSON in UTF-8 without repeated names") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name stands twice")
    return unique


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("not a number")


_parse = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant).decode


# ---- encoding -----------------------------------------------------------------------------------

_EncodePlan = tuple[tuple[str, ...], Callable[[Any], Any], frozenset[str]]
_plans: dict[type, _EncodePlan] = {}


def _plan(kind: type) -> _EncodePlan:
    fields = dataclasses.fields(kind)
    names = tuple(f.name for f in fields)
    if len(names) == 1:
        only = attrgetter(names[0])
        getter: Callable[[Any], Any] = lambda value: (only(value),)  # noqa: E731
    else:
        getter = attrgetter(*names) if names else lambda _value: ()
    plan = (names, getter, frozenset(f.name for f in fields if f.default is None))
    _plans[kind] = plan
    return plan


def _plain(value: object) -> object:
    kind = type(value)
    plan = _plans.get(kind)
    if plan is None:
        if isinstance(value, datetime):
            return _text_of_time(value)
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, Enum):
            return value.value
        if not dataclasses.is_dataclass(kind):
            raise ContractDefinitionError(f"a value of type {kind.__name__} has no JSON form")
        plan = _plan(kind)
    names, getter, optional = plan
    plain = dict(zip(names, getter(value), strict=True))
    for name in optional:
        if plain[name] is None:
            del plain[name]
    return plain


def _text_of_time(value: datetime) -> str:
    if value.tzinfo is None:
        raise ContractDefinitionError("a time without a zone has no JSON form")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
).encode


def encode_json(value: object) -> bytes:
    """Return *value* as canonical JSON: what state values and results are made of."""
    return _encode(value).encode("utf-8")


# ---- decoding -----------------------------------------------------------------------------------

_decoders: dict[Any, Decode] = {}


def decoder_of(kind: Any) -> Decode:
    """Return the compiled decoder of a type.

    Raises:
        ContractDefinitionError: the type cannot be decoded.
    """
    try:
        found = _decoders.get(kind)
    except TypeError:
        raise ContractDefinitionError(f"{kind!r} is not a type that JSON can be read as") from None
    if found is None:
        found = _compile(kind)
        _decoders[kind] = found
    return found


def name_of_json(value: object) -> str:
    """Say what a JSON value is, without saying what it holds."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    names |= {int: "an integer", float: "a number with a fraction", type(None): "null"}
    return names.get(type(value), "something else")


def _want(what: str, value: object) -> NoReturn:
    raise _WrongValue(f"must be {what}, not {name_of_json(value)}")


def _compile(kind: Any) -> Decode:
    origin = typing.get_origin(kind)
    if origin is Annotated:
        base, *marks = typing.get_args(kind)
        return _bounded(base, marks)
    if origin is None:
        return _compile_plain(kind)
    args = typing.get_args(kind)
    if origin is Literal:
        return _choice({value: value for value in args})
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
        str: _text(MAX_TEXT, None),
        int: _integer(-_INT64, _INT64 - 1),
        bool: _boolean,
        float: _number,
        None: _null,
        type(None): _null,
        date: _date,
        datetime: _time,
        object: lambda value: value,
    }
    if kind in simple:
        return simple[kind]
    if isinstance(kind, type):
        if issubclass(kind, Enum):
            return _choice({member.value: member for member in kind})
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
        return _text(longest, pattern)
    for mark in marks:
        if isinstance(mark, Bounds) and base is int:
            decode = _integer(mark.minimum, mark.maximum)
        elif isinstance(mark, MaxItems):
            decode = _at_most(decoder_of(base), mark.items)
    return decode or decoder_of(base)


def _at_most(decode: Decode, items: int) -> Decode:
    def bounded(value: Any) -> Any:
        if isinstance(value, (list, dict)) and len(value) > items:
            raise _WrongValue(f"has {len(value)} entries; at most {items} are taken at a time")
        return decode(value)

    return bounded


def _text(longest: int, pattern: Pattern | None) -> Decode:
    matches = None if pattern is None else re.compile(pattern.expression).fullmatch

    def text(value: Any) -> str:
        if type(value) is not str:
            _want("a text", value)
        if len(value) > longest:
            raise _WrongValue(f"is longer than {longest} characters")
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise _WrongValue("holds half of a character") from None
        if matches is not None and matches(value) is None:
            raise _WrongValue(f"must be {cast(Pattern, pattern).meaning}")
        return value

    return text


def _integer(minimum: int, maximum: int) -> Decode:
    def integer(value: Any) -> int:
        if type(value) is not int:
            _want("an integer", value)
        if not minimum <= value <= maximum:
            raise _WrongValue(f"must be from {minimum} to {maximum}")
        return value

    return integer


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        _want("true or false", value)
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not -1e300 < value < 1e300:
        _want("a number", value)
    return float(value)


def _null(value: Any) -> None:
    if value is not None:
        _want("null", value)


def _date(value: Any) -> date:
    if type(value) is not str:
        _want("a date as YYYY-MM-DD", value)
    if len(value) == 10 and value[4] == "-" == value[7]:
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise _WrongValue("must be a date as YYYY-MM-DD")


def _time(value: Any) -> datetime:
    if type(value) is str and value.endswith("Z") and 20 <= len(value) <= 27:
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except ValueError:
            pass
    raise _WrongValue("must be a time as YYYY-MM-DDThh:mm:ssZ")


def _choice(members: dict[Any, Any]) -> Decode:
    spelled = ", ".join(str(value) for value in members)

    def choice(value: Any) -> Any:
        try:
            member = members[value]
        except (KeyError, TypeError):
            raise _WrongValue(f"must be one of {spelled}") from None
        if type(value) is bool and not any(value is known for known in members):
            raise _WrongValue(f"must be one of {spelled}")
        return member

    return choice


def _list(decode: Decode, most: int) -> Decode:
    def items(value: Any) -> list[Any]:
        if type(value) is not list:
            _want("a list", value)
        if len(value) > most:
            raise _WrongValue(f"has {len(value)} entries; at most {most} are taken at a time")
        decoded: list[Any] = []
        try:
            for item in value:
                decoded.append(decode(item))
        except _WrongValue as wrong:
            wrong.path.append(f"[{len(decoded)}]")
            raise
        return decoded

    return items


def _fixed_tuple(decoders: list[Decode]) -> Decode:
    def items(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(decoders):
            raise _WrongValue(f"must be a list of {len(decoders)}")
        decoded: list[Any] = []
        try:
            for decode, item in zip(decoders, value, strict=True):
                decoded.append(decode(item))
        except _WrongValue as wrong:
            wrong.path.append(f"[{len(decoded)}]")
            raise
        return tuple(decoded)

    return items


def _mapping(decode: Decode, most: int) -> Decode:
    def mapping(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            _want("an object", value)
        if len(value) > most:
            raise _WrongValue(f"has {len(value)} entries; at most {most} are taken at a time")
        decoded = {}
        for name, item in value.items():
            try:
                decoded[name] = decode(item)
            except _WrongValue as wrong:
                wrong.path.append(_spelled(name))
                raise
        return decoded

    return mapping


def _spelled(name: str) -> str:
    """A field's name as part of a path, unless it is no name: it might be somebody's number."""
    return f".{name}" if re.fullmatch(r"[A-Za-z_][A-Za-z_-]{0,39}", name) else ".(a field)"


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
            except _WrongValue as wrong:
                place = wrong.place.lstrip(".")
                return Malformed(f"{place}: {wrong.reason}" if place else wrong.reason, value)

        decode = lenient
    return decode


_REQUIRED: Final = object()


def _dataclass(kind: type) -> Decode:
    slot: list[Decode] = []
    # A dataclass may name itself in a field: the cache answers before its fields are compiled.
    _decoders[kind] = lambda value: slot[0](value)
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
        specs = tuple(
            (f.name, decoder_of(hints[f.name]), _default_of(kind, f))
            for f in dataclasses.fields(kind)
        )
    except (NameError, ContractDefinitionError) as error:
        del _decoders[kind]
        raise ContractDefinitionError(f"{kind.__name__}: {error}") from None
    keyword_only = any(f.kw_only for f in dataclasses.fields(kind))
    names = frozenset(name for name, _, _ in specs)
    count = len(specs)

    def record(value: Any) -> Any:
        if type(value) is not dict:
            _want("an object", value)
        values: list[Any] = []
        absent = 0
        name = ""
        try:
            for name, decode, default in specs:
                if name in value:
                    values.append(decode(value[name]))
                elif default is _REQUIRED:
                    raise _WrongValue("is missing")
                else:
                    values.append(default)
                    absent += 1
        except _WrongValue as wrong:
            wrong.path.append("." + name)
            raise
        if len(value) + absent != count:
            _refuse_unknown(value, names)
        try:
            if keyword_only:
                return kind(**{spec[0]: item for spec, item in zip(specs, values, strict=True)})
            return kind(*values)
        except ContractRefusal as refusal:
            raise _WrongValue(str(refusal)) from None

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
    wrong = _WrongValue("is not a field that is known here")
    wrong.path.append(_spelled(unknown))
    raise wrong
