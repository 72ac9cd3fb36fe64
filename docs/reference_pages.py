"""Pages of the reference, one per public module, written as the site is built."""

import ast
import importlib
import inspect
import pkgutil
import textwrap
from functools import cache
from pathlib import Path
from types import ModuleType

PAGES = [
    "prunejax.masks",
    "prunejax.allocation",
    "prunejax.criteria",
    "prunejax.pruning",
    "prunejax.training",
    "prunejax.models",
    "prunejax.data",
    "prunejax.checkpoint",
    "prunejax.network",
    "prunejax.channels",
    "prunejax.filters",
    "prunejax.layerwise",
    "prunejax.rewiring",
    "prunejax.rewiring.during_training",
    "prunejax.sparse",
    "prunejax.robustness",
    "prunejax.topology",
    "prunejax.neurons",
    "prunejax.spiking",
    "solvers.critical_neurons",
    "solvers.problem",
    "solvers.layers",
    "solvers.settings",
    "solvers.solution",
    "solvers.export",
]


def public_names(module: ModuleType) -> list[str]:
    """The names in ``__all__``; without one, what the module itself defines and does not hide."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    defined = _definitions(module.__name__)
    return [name for name in defined if not name.startswith("_") and hasattr(module, name)]


def page(name: str) -> str:
    """The page of one module, in reStructuredText."""
    module = importlib.import_module(name)
    lines = [name, "=" * len(name), "", f".. py:module:: {name}", ""]
    lines += [rest(inspect.getdoc(module) or ""), ""]
    found = {each: getattr(module, each) for each in sorted(public_names(module), key=str.lower)}
    parts = {"Functions": [], "Classes": [], "Data": []}
    for each, thing in found.items():
        if isinstance(thing, ModuleType):
            continue
        if inspect.isclass(thing):
            fields = ", ".join(getattr(thing, "_fields", ()))
            parts["Classes"] += [f".. autoclass:: {name}.{each}", "   :members:"]
            parts["Classes"] += [f"   :exclude-members: {fields}"] * bool(fields)
            parts["Classes"] += ["   :no-index:"] * _stands_elsewhere(thing, name) + [""]
        elif inspect.isroutine(thing) or hasattr(thing, "__wrapped__"):
            parts["Functions"] += [f".. autofunction:: {name}.{each}", ""]
        else:
            parts["Data"] += _datum(name, each, thing)
    for title, body in parts.items():
        if body:
            lines += [title, "-" * len(title), "", *body]
    return "\n".join(lines) + "\n"


def _stands_elsewhere(thing: type, name: str) -> bool:
    """Whether another page describes the class: that of the package that defines it."""
    home = ".".join(thing.__module__.split(".")[:2])
    return home != ".".join(name.split(".")[:2]) and home in PAGES


def _datum(module: str, name: str, thing: object) -> list[str]:
    """A constant, a registry or a type's other name, with the text that follows its definition."""
    lines = [f".. py:data:: {module}.{name}", ""]
    says, value = _find(module, name)
    says = rest(says)
    if isinstance(thing, dict):
        lines += [f"   {line}".rstrip() for line in says.splitlines()]
        keys = ", ".join(f"``{key!r}``" for key in thing)
        return [*lines, "", f"   Entries: {keys}.", ""]
    if value and len(value) < 300:
        lines[1:1] = [f"   :value: {' '.join(value.split())}"]
    return [*lines, *(f"   {line}".rstrip() for line in says.splitlines()), ""]


def _find(module: str, name: str) -> tuple[str, str]:
    """The text below a constant's definition, and the definition, wherever it stands."""
    loaded = importlib.import_module(module)
    places = [module]
    for path, names in _imports(module).items():
        if name in names:
            return _find(path, names[name])
    if hasattr(loaded, "__path__"):
        places += [f"{module}.{each.name}" for each in pkgutil.iter_modules(loaded.__path__)]
    for place in places:
        if name in _definitions(place):
            return _definitions(place)[name]
    return "", ""


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


@cache
def _imports(module: str) -> dict[str, dict[str, str]]:
    """From which module which names come, and what they are called there."""
    found: dict[str, dict[str, str]] = {}
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {each.asname or each.name: each.name for each in node.names}
            found.setdefault(node.module, {}).update(names)
    return found


@cache
def _definitions(module: str) -> dict[str, tuple[str, str]]:
    """A module's own names, each with the text below it and its value, as written."""
    found = {}
    body = _tree(module).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        says = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            says = inspect.cleandoc(str(after.value.value))
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = (ast.get_docstring(node) or "", "")
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = (says, ast.unparse(node.value) if node.value else "")
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = (says, ast.unparse(node.value))
    return found


def as_written(app, what, name, thing, options, signature, returns):
    """The signature as the source has it: evaluated annotations of arrays are hard to read."""
    function = inspect.unwrap(thing) if callable(thing) else thing
    if inspect.ismethod(function):
        function = function.__func__
    if not inspect.isfunction(function):
        if signature:
            signature = signature.replace("jaxlib._jax.Array", "Array").replace(
                "jax.Array", "Array"
            )
        return signature, returns
    try:
        (node, *_) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, SyntaxError):
        return None
    if not isinstance(node, ast.FunctionDef):
        return None
    if what == "method" and node.args.args and node.args.args[0].arg in ("self", "cls"):
        del node.args.args[0]
    return f"({ast.unparse(node.args)})", ast.unparse(node.returns) if node.returns else None


def as_rest(app, what, name, thing, options, lines):
    """Makes reStructuredText of what docstrings write more freely: ``Plan``s, and |w|."""
    lines[:] = rest("\n".join(lines)).split("\n")


def rest(text: str) -> str:
    """A text whose literals may have letters behind them, and bars that are no substitutions."""
    if "``" not in text and "|" not in text:
        return text
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if paragraph.lstrip().startswith(">>>"):
            paragraphs.append(paragraph)
            continue
        parts = paragraph.split("``")
        for place in range(0, len(parts), 2):
            parts[place] = parts[place].replace("|", "\\|")
            if place and parts[place][:1].isalpha():
                parts[place] = "\\ " + parts[place]
        paragraphs.append("``".join(parts))
    return "\n\n".join(paragraphs)


def write(folder: Path) -> None:
    """Writes all pages; those that say what they said are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.rst"):
        if old.stem not in PAGES:
            old.unlink()
    for name in PAGES:
        path, text = folder / f"{name}.rst", page(name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
