"""Contracts as classes, and the way from a proposal's arguments to a function and back.

A contract is a class with a `name` and methods marked `@transaction` (changes the ledger) or
`@query` (only reads; a write in one is refused wherever it runs). The method's name in CamelCase
is the transaction's: `post_payments` answers to `PostPayments`, or `payments:PostPayments` with
the contract's name before it. Arguments are decoded by the annotations (a plain `str` is taken as
it comes, everything else is JSON, see `values`), results encoded by them. `*ids: str` takes any
number of further arguments, each decoded alike.

A contract keeps nothing between transactions: its instance cannot be written to.
"""

from __future__ import annotations

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn, TypeVar, overload

from chaincode.contract.canonical import encode_json
from chaincode.contract.context import Context
from chaincode.contract.scalars import MAX_TEXT, Decode
from chaincode.contract.schema import Signature, describe_contract
from chaincode.contract.values import decode_with, decoder_of
from chaincode.errors import ArgumentRefusal, ContractDefinitionError

_MARK: Final = "__contract_function__"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
METADATA_FUNCTION: Final = "org.hyperledger.fabric:GetMetadata"
"""Answered for every contract, as Fabric's contract API does."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class _Mark:
    writes: bool
    name: str


@overload
def transaction(function: F, /) -> F: ...
@overload
def transaction(*, name: str) -> Callable[[F], F]: ...
def transaction(function: F | None = None, /, *, name: str = "") -> F | Callable[[F], F]:
    """Mark a method as a transaction function that may write."""
    return _marking(function, name, writes=True)


@overload
def query(function: F, /) -> F: ...
@overload
def query(*, name: str) -> Callable[[F], F]: ...
def query(function: F | None = None, /, *, name: str = "") -> F | Callable[[F], F]:
    """Mark a method as a transaction function that only reads."""
    return _marking(function, name, writes=False)


def _marking(function: F | None, name: str, *, writes: bool) -> F | Callable[[F], F]:
    def mark(function: F) -> F:
        setattr(function, _MARK, _Mark(writes, name or camel_case(function.__name__)))
        return function

    return mark if function is None else mark(function)


def camel_case(name: str) -> str:
    """Return the transaction name of a method: `post_payments` becomes `PostPayments`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


class Contract:
    """Base of every contract.

    Attributes:
        name: of the contract, and of the chaincode (the namespace) it is installed as.
        title: one line for the metadata.
        version: for the metadata.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    version: ClassVar[str] = "1"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise ContractDefinitionError(
            f"contract {self.name} keeps nothing between transactions, so {name} cannot be set; "
            "put it on the ledger"
        )


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a transaction function."""

    name: str
    annotation: Any
    decode: Decode
    required: bool
    raw: bool


@dataclass(frozen=True, slots=True)
class ContractFunction:
    """A transaction function, compiled.

    Attributes:
        writes: False for a query, whose writes are refused.
        required: how many arguments must be given; the parameters after them have defaults.
        rest: what every argument beyond the parameters is; None if there may be none.
    """

    name: str
    writes: bool
    parameters: tuple[Parameter, ...]
    required: int
    returns: Any
    call: Callable[..., Any]
    rest: Parameter | None = None

    @property
    def signature(self) -> Signature:
        """What the metadata says about it."""
        named = self.parameters if self.rest is None else (*self.parameters, self.rest)
        parameters = tuple((each.name, each.annotation, each.required) for each in named)
        return Signature(self.name, self.writes, parameters, self.returns)

    def invoke(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        """Decode the arguments, run the function, encode its result."""
        most = len(args) if self.rest is not None else len(self.parameters)
        if not self.required <= len(args) <= most:
            names = ", ".join(parameter.name for parameter in self.parameters) or "none"
            raise ArgumentRefusal(
                self.name,
                f"takes the arguments ({names}), not {len(args)}",
                "see GetMetadata",
            )
        values = [
            parameter.decode(raw) for parameter, raw in zip(self.parameters, args, strict=False)
        ]
        if self.rest is not None:
            values.extend(map(self.rest.decode, args[len(self.parameters) :]))
        return _encode_result(self.call(ctx, *values), self.returns)


def _encode_result(result: object, declared: Any) -> bytes:
    if result is None and declared in (None, type(None)):
        return b""
    if isinstance(result, bytes):
        return result
    if type(result) is str:
        return result.encode("utf-8")
    return encode_json(result)


def _argument_decoder(name: str, annotation: Any) -> tuple[Decode, bool]:
    """Return the decoder from an argument's bytes, and whether it is taken as plain text."""
    base = typing.get_args(annotation)[0] if _is_annotated(annotation) else annotation
    decode = decoder_of(annotation)
    if base is str:
        is_unbounded = decode is decoder_of(str)

        def from_text(raw: bytes) -> Any:
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                raise ArgumentRefusal(f"argument {name}", "must be UTF-8", "") from None
            if is_unbounded and len(text) <= MAX_TEXT:
                return text
            # Bounds are the decoder's business; it takes the value that JSON would have held.
            return decode_with(lambda _parsed: decode(text), b"null", f"argument {name}")

        return from_text, True

    what = f"argument {name}"

    def from_json(raw: bytes) -> Any:
        return decode_with(decode, raw, what)

    return from_json, False


def _is_annotated(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Annotated


class CompiledContract:
    """A contract ready to be called.

    Raises:
        ContractDefinitionError: a function cannot be offered, with its name and the reason.
    """

    def __init__(self, contract: Contract) -> None:
        if not _NAME.fullmatch(contract.name):
            raise ContractDefinitionError(
                f"contract class {type(contract).__name__} needs a name of letters, digits, - and _"
            )
        self.contract = contract
        self.name = contract.name
        self.functions: Mapping[str, ContractFunction] = _functions_of(contract)
        self.metadata = encode_json(
            describe_contract(
                contract.name,
                contract.title,
                contract.version,
                [function.signature for function in self.functions.values()],
            )
        )
        """The document of `METADATA_FUNCTION`, JSON."""

    def find(self, called: str) -> ContractFunction:
        """Return the function called *called* (`Function` or `contract:Function`).

        Raises:
            ArgumentRefusal: there is none; the message lists names that come near.
        """
        prefix, colon, short = called.rpartition(":")
        function = None
        if not colon or prefix == self.name:
            # Fabric's contract API takes a small first letter too.
            function = self.functions.get(short) or self.functions.get(
                short[:1].upper() + short[1:]
            )
        if function is not None:
            return function
        near = difflib.get_close_matches(short, self.functions, n=3, cutoff=0.5)
        offered = ", ".join(near or sorted(self.functions)[:20])
        shown = called if len(called) <= 80 and called.isprintable() else "of that name"
        raise ArgumentRefusal(
            f"contract {self.name}",
            f"has no function {shown}",
            f"{'did you mean' if near else 'it offers'} {offered}" + ("?" if near else ""),
            status=404,
        )


def _functions_of(contract: Contract) -> dict[str, ContractFunction]:
    found: dict[str, ContractFunction] = {}
    kind = type(contract)
    for attribute, member in inspect.getmembers(kind, inspect.isfunction):
        mark = getattr(member, _MARK, None)
        if not isinstance(mark, _Mark):
            continue
        place = f"{kind.__name__}.{attribute}"
        if mark.name in found:
            raise ContractDefinitionError(f"{place}: {mark.name} is offered twice")
        found[mark.name] = _compile_function(contract, attribute, member, mark, place)
    if not found:
        raise ContractDefinitionError(f"contract {contract.name} offers no function")
    return dict(sorted(found.items()))


def _is_plain_function(member: Callable[..., Any]) -> bool:
    return not (
        inspect.iscoroutinefunction(member)
        or inspect.isgeneratorfunction(member)
        or inspect.isasyncgenfunction(member)
    )


def _compile_function(
    contract: Contract, attribute: str, member: Callable[..., Any], mark: _Mark, place: str
) -> ContractFunction:
    if not _is_plain_function(member):
        raise ContractDefinitionError(
            f"{place}: must be a plain function, not async or a generator"
        )
    try:
        hints = typing.get_type_hints(member, include_extras=True)
    except NameError as error:
        raise ContractDefinitionError(f"{place}: {error}") from None
    taken = list(inspect.signature(member).parameters.values())
    if len(taken) < 2 or hints.get(taken[1].name) is not Context:
        raise ContractDefinitionError(f"{place}: the first argument must be ctx: Context")
    parameters = []
    rest = None
    for parameter in taken[2:]:
        repeats = parameter.kind is inspect.Parameter.VAR_POSITIONAL
        if not repeats and parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            raise ContractDefinitionError(f"{place}: {parameter.name} must be a plain argument")
        if parameter.name not in hints:
            raise ContractDefinitionError(f"{place}: {parameter.name} has no type")
        annotation = hints[parameter.name]
        try:
            decode, raw = _argument_decoder(parameter.name, annotation)
        except ContractDefinitionError as error:
            raise ContractDefinitionError(f"{place}, {parameter.name}: {error}") from None
        required = parameter.default is inspect.Parameter.empty and not repeats
        compiled = Parameter(parameter.name, annotation, decode, required, raw)
        if repeats:
            rest = compiled
        else:
            parameters.append(compiled)
    return ContractFunction(
        name=mark.name,
        writes=mark.writes,
        parameters=tuple(parameters),
        required=sum(parameter.required for parameter in parameters),
        returns=hints.get("return"),
        call=getattr(contract, attribute),
        rest=rest,
    )
