"""Check that public functions with two or more parameters document them: `python infra/lint/docstrings.py FOLDER...`.

Google style: Args names each parameter, Returns (or Yields) is required if something is returned, Raises if the
function itself raises. ruff's D417 only checks existing Args sections.

Exempt: private and nested functions, dunders, and functions whose decorator documents the parameters (routes,
validators, overloads, Celery tasks).
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
DOCUMENTED_ELSEWHERE = re.compile(r"\b(routes?|router|app|field_validator|model_validator|overload|task|override)\b")


def public_functions(tree: ast.Module) -> Iterator[Function]:
    """Functions and methods that others may call."""
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (one for one in node.body if isinstance(one, Function) and not one.name.startswith("_"))


def parameters(function: Function) -> list[str]:
    """Names of the parameters, without `self` and `cls`."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [one.arg for one in every if one.arg not in {"self", "cls"} and not one.arg.startswith("_")]


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


def missing(function: Function) -> list[str]:
    """The missing sections of a docstring; empty if it is complete."""
    if any(DOCUMENTED_ELSEWHERE.search(ast.unparse(one)) for one in function.decorator_list):
        return []
    names = parameters(function)
    if len(names) < 2:
        return []
    text = ast.get_docstring(function) or ""
    lacks = [name for name in names if not re.search(rf"^\s+\*{{0,2}}{name}\b.*:", text, re.MULTILINE)]
    absent = [f"Args for {', '.join(lacks)}"] if lacks or "Args:" not in text else []
    returns = function.returns is not None and ast.unparse(function.returns) not in {"None", "NoReturn"}
    if returns and not re.search(r"^(Returns|Yields):", text, re.MULTILINE):
        absent.append("Returns")
    raises = any(isinstance(node, ast.Raise) and node.exc is not None for node in own_nodes(function))
    if raises and not re.search(r"^Raises:", text, re.MULTILINE):
        absent.append("Raises")
    return absent


def main(folders: list[str]) -> int:
    """Print each function that lacks a section; 1 if there is one, else 0."""
    found = 0
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.py")):
            for function in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
                if lacks := missing(function):
                    found += 1
                    print(f"{path}:{function.lineno} {function.name}: its docstring lacks {'; '.join(lacks)}")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
