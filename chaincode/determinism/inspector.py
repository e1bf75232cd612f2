"""Looks through the syntax tree of one module and writes down what is refused."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from chaincode.determinism.allowed import (
    ALLOWED,
    CLOCKS,
    CONTRACT_API,
    REASONS,
    REFUSED_ATTRIBUTES,
    REFUSED_NAMES,
)
from chaincode.determinism.sets import (
    SET_METHODS,
    Scope,
    SetNames,
    is_keys,
    is_set_type,
)

_ORDER_SHOWS: Final = frozenset({"enumerate", "filter", "iter", "list", "map", "tuple", "zip"})
_ORDER_HIDDEN: Final = frozenset(
    {"all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum"}
)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is refused, and where."""

    path: str
    line: int
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}: {self.reason}"


class Inspector(ast.NodeVisitor):
    """Looks through one module."""

    def __init__(self, path: str, known: SetNames) -> None:
        self.findings: list[Finding] = []
        self._path = path
        self._depth = path.count("/") + 1
        self._known = known
        self._scopes: list[Scope] = []
        self._clocks: dict[str, str] = {}
        """Names under which the module reaches `datetime`, its classes, or the module itself."""
        self._parts_only: dict[str, str] = {}
        """Names of imported modules of which only parts are allowed."""
        self._hidden: set[ast.AST] = set()
        """Comprehensions whose order the call around them does not show."""

    def _refuse(self, node: ast.AST, what: str, reason: str) -> None:
        line = getattr(node, "lineno", 1)
        self.findings.append(Finding(self._path, line, what, reason))

    # ---- imports
    def visit_Import(self, node: ast.Import) -> None:
        """Check `import x`."""
        for alias in node.names:
            self._check_module(node, alias.name, frozenset())
            if ALLOWED.get(alias.name) is not None:
                self._parts_only[alias.asname or alias.name] = alias.name
            if alias.name == "datetime":
                self._clocks[alias.asname or alias.name] = "datetime"

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Check `from x import y`."""
        if node.level:
            if node.level > self._depth:
                self._refuse(node, "a relative import", "leads out of the package")
            return
        self._check_module(node, node.module or "", frozenset(alias.name for alias in node.names))
        if node.module == "datetime":
            for alias in node.names:
                if alias.name in ("datetime", "date"):
                    self._clocks[alias.asname or alias.name] = alias.name

    def _check_module(self, node: ast.stmt, module: str, names: frozenset[str]) -> None:
        if module == CONTRACT_API:
            return
        root = module.partition(".")[0]
        if module not in ALLOWED:
            reason = REASONS.get(root) or (
                f"of ours a contract stands on {CONTRACT_API} alone; import your own modules "
                "relatively (from .x import y)"
                if root in ("chaincode", "clients", "ledger", "network", "nodes", "qist")
                else "is not on the list of what is the same everywhere "
                "(docs/howto/write-a-contract.md)"
            )
            self._refuse(node, f"import of {module}", reason)
            return
        only = ALLOWED[module]
        if only is not None and not names <= only:
            self._refuse(node, f"import of {module}", REASONS[root])

    # ---- scopes
    def visit_Module(self, node: ast.Module) -> None:
        """Enter the module."""
        self._enter(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Enter a class."""
        self._enter(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Enter a function."""
        self._enter(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Enter a lambda."""
        self._enter(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Refuse a coroutine."""
        self._refuse(node, "async def", REASONS["asyncio"])

    def _enter(self, node: ast.AST) -> None:
        scope = Scope(node)
        self._scopes.append(scope)
        self._find_sets(scope)
        self.generic_visit(node)
        self._scopes.pop()

    def _find_sets(self, scope: Scope) -> None:
        """Find the names that hold sets; twice, since one may be made from another."""
        for _ in range(2):
            held: dict[str, bool] = {}
            for child in scope.nodes:
                for name, is_set in self._assigned(child):
                    held[name] = held.get(name, True) and is_set
            scope.sets = {name for name, is_set in held.items() if is_set}

    def _assigned(self, node: ast.AST) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, self._is_set(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, is_set_type(node.annotation)
        elif isinstance(node, ast.NamedExpr):
            yield node.target.id, self._is_set(node.value)
        elif isinstance(node, ast.arg):
            yield node.arg, is_set_type(node.annotation)
        elif isinstance(node, (ast.For, ast.comprehension)):
            for inner in ast.walk(node.target):
                if isinstance(inner, ast.Name):
                    yield inner.id, False

    def _is_builtin(self, node: ast.expr, names: frozenset[str] | Mapping[str, str]) -> bool:
        return (
            isinstance(node, ast.Name)
            and node.id in names
            and not any(node.id in scope.bound for scope in self._visible())
        )

    def _visible(self) -> Iterator[Scope]:
        """Iterate over the scopes whose names are seen here, from the inside out."""
        for scope in reversed(self._scopes):
            if not scope.is_class or scope is self._scopes[-1]:
                yield scope

    # ---- sets
    def _is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Name(id=name):
                for scope in self._visible():
                    if name in scope.bound:
                        return name in scope.sets
                return False
            case ast.Attribute(attr=attribute):
                return attribute in self._known.attributes
            case ast.BinOp(op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
                sides = (node.left, node.right)
                return any(self._is_set(side) or is_keys(side) for side in sides)
            case ast.IfExp(body=body, orelse=other):
                return self._is_set(body) or self._is_set(other)
            case ast.Call(func=ast.Attribute(value=base, attr=method)):
                if method in SET_METHODS and self._is_set(base):
                    return True
                return method in self._known.functions
            case ast.Call(func=ast.Name(id=name) as called):
                return (
                    self._is_builtin(called, frozenset({"set", "frozenset"}))
                    or name in self._known.functions
                )
        return False

    def _check_order(self, node: ast.AST, iterated: ast.expr) -> None:
        if self._is_set(iterated):
            self._refuse(
                node,
                "iteration over a set",
                "its order differs in every process; iterate over sorted(…)",
            )

    def visit_For(self, node: ast.For) -> None:
        """Check what a loop runs over."""
        self._check_order(node, node.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        """Check a comprehension whose result keeps the order."""
        self._check_comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        """Check a comprehension whose result keeps the order."""
        self._check_comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """Check a generator, unless the call around it hides the order."""
        self._check_comprehension(node)

    def _check_comprehension(self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp) -> None:
        if node not in self._hidden:
            for generator in node.generators:
                self._check_order(node, generator.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        """Check `*values`."""
        if isinstance(node.ctx, ast.Load):
            self._check_order(node, node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Check `a, b = values`."""
        if any(isinstance(target, (ast.Tuple, ast.List)) for target in node.targets):
            self._check_order(node, node.value)
        self.generic_visit(node)

    # ---- calls and names
    def visit_Call(self, node: ast.Call) -> None:
        """Check what is called, and whether the order of an argument shows."""
        called = node.func
        if self._is_builtin(called, _ORDER_HIDDEN):
            self._hidden.update(node.args)
        elif self._is_builtin(called, _ORDER_SHOWS):
            for argument in node.args:
                self._check_order(node, argument)
        elif isinstance(called, ast.Attribute):
            self._check_method(node, called)
        self.generic_visit(node)

    def _check_method(self, node: ast.Call, called: ast.Attribute) -> None:
        name = called.attr
        if name == "join" and node.args:
            self._check_order(node, node.args[0])
        elif name == "pop" and not node.args:
            self._check_order(node, called.value)
        elif name == "astimezone" and not node.args and not node.keywords:
            self._refuse(node, "astimezone()", "the machine's time zone; name one, as PKT")
        elif self._is_clock(called.value):
            if name in CLOCKS:
                self._refuse(node, f"{ast.unparse(called)}()", REASONS["time"])
            elif name == "fromtimestamp" and len(node.args) + len(node.keywords) < 2:
                self._refuse(
                    node, f"{ast.unparse(called)}()", "the machine's time zone; name one, as PKT"
                )

    def _is_clock(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr in ("datetime", "date") and self._is_clock(node.value)
        return isinstance(node, ast.Name) and node.id in self._clocks

    def visit_Name(self, node: ast.Name) -> None:
        """Check the use of a builtin."""
        if isinstance(node.ctx, ast.Load) and self._is_builtin(node, REFUSED_NAMES):
            self._refuse(node, node.id, REFUSED_NAMES[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Check for a way round."""
        if node.attr in REFUSED_ATTRIBUTES:
            self._refuse(node, node.attr, "the inside of the interpreter differs between nodes")
        if isinstance(node.value, ast.Name) and node.value.id in self._parts_only:
            module = self._parts_only[node.value.id]
            if node.attr not in (ALLOWED[module] or ()):
                self._refuse(node, f"{module}.{node.attr}", REASONS[module])
        self.generic_visit(node)

    # ---- statements
    def visit_Global(self, node: ast.Global) -> None:
        """Refuse state between transactions."""
        self._refuse(node, "global", "a contract keeps nothing between transactions")

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """Refuse to catch what ends a simulation."""
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if any(
            kind is None or (isinstance(kind, ast.Name) and kind.id == "BaseException")
            for kind in kinds
        ):
            self._refuse(
                node, "except of everything", "it would catch the end of the deadline; name errors"
            )
        self.generic_visit(node)
