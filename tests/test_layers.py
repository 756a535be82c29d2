"""The order of the layers: an import points down, and no circle of imports exists anywhere."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tagpr_lite"
# From the top floor down; a module may import from its own floor and from those below. Rooms of one floor
# that stand beside each other, such as prmu and grpo, do not import each other.
LAYERS = [("doctor", "lessons"), ("bench", "campaign", "ask", "serve", "export", "submit"),
          ("steps", "answering"), ("prmu", "grpo", "report", "score"),
          ("tags",), ("plan",), ("engine",), ("lamp",), ("runs",), ("config",)]
FLOOR = {room: len(LAYERS) - n for n, layer in enumerate(LAYERS) for room in layer}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path, names):
    """(imported module, whether at the top of the file) of everything that a file imports from the
    package."""
    tree = ast.parse(path.read_text())
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[:len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                target = f"{base}.{alias.name}" if f"{base}.{alias.name}" in names else base
                if target.startswith("tagpr_lite"):
                    yield target, node in tree.body


def graph(only_top=False):
    files = {module_name(path): path for path in PACKAGE.rglob("*.py")}
    return {name: {target for target, top in imports_of(path, files) if top or not only_top}
            for name, path in files.items()}


def room(module):
    return (module.split(".") + [""])[1]


def test_every_room_has_a_floor():
    rooms = {room(module) for module in graph()} - {""}
    assert rooms == set(FLOOR)


def test_imports_point_down():
    upward = [f"{module} imports {target}" for module, targets in graph().items() for target in targets
              if room(module) and room(target) and room(module) != room(target)
              and FLOOR[room(target)] >= FLOOR[room(module)]]
    assert not upward, upward


@pytest.mark.parametrize("only_top", [True, False])
def test_there_is_no_circle(only_top):
    """Neither between modules nor, with imports inside functions counted, hidden in one."""
    edges = graph(only_top)
    done = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path[path.index(module):], module])
        if module not in done:
            for target in sorted(edges.get(module, ())):
                visit(target, [*path, module])
            done.add(module)

    for module in sorted(edges):
        visit(module, [])


def test_a_library_room_knows_nothing_of_the_method():
    """engine knows no tags, users or rewards; lamp knows no models; the reward reads no files."""
    edges = graph()
    below = {"engine": {"runs", "config", "engine", "lamp"}, "lamp": {"runs", "config", "lamp"}}
    for module, targets in edges.items():
        if room(module) in below:
            assert {room(target) for target in targets} <= below[room(module)], module

    def reach(module, seen):
        for target in edges.get(module, ()):
            if target not in seen:
                seen.add(target)
                reach(target, seen)
        return seen

    assert not any(".official" in target for target in reach("tagpr_lite.grpo.rewards", set()))
