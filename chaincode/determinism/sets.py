"""Which names hold sets, as far as a package's own annotations and assignments say."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_SET_TYPES: Final = frozenset({"set", "frozenset", "Set", "AbstractSet", "MutableSet", "FrozenSet"})
SET_METHODS: Final = frozenset(
    {"copy", "difference", "intersection", "symmetric_difference", "union"}
)


@dataclass(frozen=True, slots=True)
class SetNames:
    """Attributes and functions that the package's own annotations call sets."""

    attributes: frozenset[str]
    functions: frozenset[str]

    @classmethod
    def of(cls, trees: Iterable[ast.Module]) -> SetNames:
        """Read them from the modules of a package."""
        attributes: set[str] = set()
        functions: set[str] = set()
        for tree in trees:
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    attributes |= {
                        item.target.id
                        for item in node.body
                        if isinstance(item, ast.AnnAssign)
                        and isinstance(item.target, ast.Name)
                        and is_set_type(item.annotation)
                    }
                elif isinstance(node, ast.FunctionDef) and is_set_type(node.returns):
                    functions.add(node.name)
        return cls(frozenset(attributes), frozenset(functions))


def is_set_type(annotation: ast.expr | None) -> bool:
    """Say whether an annotation means a set."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return False
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    if isinstance(annotation, ast.Attribute):
        return annotation.attr in _SET_TYPES
    return isinstance(annotation, ast.Name) and annotation.id in _SET_TYPES


class Scope:
    """Names of one function, class or module, as far as this check needs them.

    Attributes:
        nodes: what belongs to it, without what is inside the scopes in it.
        bound: every name that is set here, so that it is not the builtin of that name.
        sets: names that hold a set wherever they are set.
        is_class: its names are not seen by the functions inside it.
    """

    def __init__(self, node: ast.AST) -> None:
        self.nodes = _own_nodes(node)
        self.bound = _bound_names(self.nodes)
        self.sets: set[str] = set()
        self.is_class = isinstance(node, ast.ClassDef)


def _own_nodes(node: ast.AST) -> list[ast.AST]:
    nodes: list[ast.AST] = []
    waiting = list(ast.iter_child_nodes(node))
    while waiting:
        child = waiting.pop()
        nodes.append(child)
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(child))
    return nodes


def _bound_names(nodes: list[ast.AST]) -> set[str]:
    bound: set[str] = set()
    for child in nodes:
        if isinstance(child, ast.Name):
            if isinstance(child.ctx, ast.Store):
                bound.add(child.id)
        elif isinstance(child, ast.arg):
            bound.add(child.arg)
        elif isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            bound.add(child.name)
        elif isinstance(child, ast.alias):
            bound.add((child.asname or child.name).partition(".")[0])
    return bound


def is_keys(node: ast.expr) -> bool:
    """Say whether it is a view whose operators make sets."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("keys", "items")
    )
