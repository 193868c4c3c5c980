"""Who may import whom: every arrow points to the left along the road of the data, or down to the ground.

`docs/architecture.md` draws the rooms; this is the rule that keeps the picture true. Imports inside functions count:
they make a program start faster, they do not make an arrow lawful.
"""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A room and what it may import beside itself. A name stands for everything below it.
GROUND = ("age_keras.errors", "age_keras.files", "age_keras.bands", "age_keras.folds", "age_keras.config")
ROOMS: dict[str, tuple[str, ...]] = {
    "age_keras.errors": (),
    "age_keras.files": ("age_keras.errors",),
    "age_keras.bands": ("age_keras.errors",),
    "age_keras.folds": (),
    "age_keras.config": ("age_keras.errors", "age_keras.files", "age_keras.bands"),
    "age_keras.fitting": GROUND,
    "age_keras.run": GROUND,
    "age_keras.conformal": ("age_keras.errors",),
    "age_keras.predictions": (*GROUND, "age_keras.conformal"),
    "age_keras.data": (*GROUND, "age_keras.predictions"),
    "age_keras.backbones": GROUND,
    "age_keras.models": (*GROUND, "age_keras.run", "age_keras.backbones"),
    "age_keras.prefix": (*GROUND, "age_keras.data.batches"),
    "age_keras.training": (
        *GROUND,
        "age_keras.fitting",
        "age_keras.run",
        "age_keras.predictions",
        "age_keras.data",
        "age_keras.backbones",
        "age_keras.models",
        "age_keras.prefix",
    ),
    # What judges a model reads the predictions table, and of the pages only their pictures.
    "age_keras.evaluation": (*GROUND, "age_keras.predictions", "age_keras.conformal", "age_keras.data.patches.decode"),
    "age_keras.deploy": (*GROUND, "age_keras.predictions", "age_keras.data", "age_keras.models"),
    "age_keras.explain": (
        *GROUND,
        "age_keras.run",
        "age_keras.predictions",
        "age_keras.data",
        "age_keras.backbones",
        "age_keras.models",
        "age_keras.deploy",
    ),
    # The second product shares the ground with the first, and nothing else.
    "age_keras.characters.config": (*GROUND, "age_keras.run"),
    "age_keras.characters.calibration": (*GROUND, "age_keras.characters.config"),
    "age_keras.characters.data": (*GROUND, "age_keras.characters.config", "age_keras.data.patches.decode"),
    "age_keras.characters.model": (*GROUND, "age_keras.run", "age_keras.characters.config"),
    "age_keras.characters.training": (
        *GROUND,
        "age_keras.fitting",
        "age_keras.run",
        "age_keras.characters.config",
        "age_keras.characters.calibration",
        "age_keras.characters.data",
        "age_keras.characters.model",
    ),
    "age_keras.characters.robustness": (
        *GROUND,
        "age_keras.characters.data",
        "age_keras.characters.model",
    ),
    # It never calls a model: the arrays and tables that a model gave are all it sees.
    "age_keras.characters.evaluation": (
        *GROUND,
        "age_keras.characters.config",
        "age_keras.characters.calibration",
        "age_keras.characters.data",
    ),
    "age_keras.characters.explain": (*GROUND, "age_keras.characters.model"),
    "age_keras.characters.reader": (
        *GROUND,
        "age_keras.run",
        "age_keras.characters.data",
        "age_keras.characters.model",
    ),
    "age_keras.characters": (),
    "age_keras.cli": ("age_keras",),
    "age_keras.commands": ("age_keras",),
    "experiments": ("age_keras", "tuning"),
    "tuning": ("age_keras",),
    "benchmarks": ("age_keras", "tuning"),
}


def python_files() -> list[Path]:
    return [
        f for room in ("age_keras", "experiments", "tuning", "benchmarks") for f in sorted((ROOT / room).rglob("*.py"))
    ]


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports() -> dict[str, set[str]]:
    """Every module of the project and the modules of the project that it imports, anywhere in its text."""
    modules = {module_name(f): f for f in python_files()}
    found: dict[str, set[str]] = {}
    for name, file in modules.items():
        targets = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                targets |= {
                    f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in modules else node.module
                    for a in node.names
                }
            elif isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
        found[name] = {t for t in targets if t in modules and t != name}
    return found


def lies_in(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def test_no_arrow_points_to_the_right():
    arrows = []
    for module, targets in imports().items():
        room = max((r for r in ROOMS if lies_in(module, (r,))), key=len, default=None)
        if room is None:
            assert module == "age_keras", f"{module} stands in no room: give it one in ROOMS"
            continue
        arrows += [
            f"{module} -> {t}" for t in sorted(targets) if t != "age_keras" and not lies_in(t, (room, *ROOMS[room]))
        ]
    assert not arrows


def test_no_module_imports_itself_in_a_circle():
    graph, circles = imports(), []
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            circles.append(" -> ".join((*path[path.index(module) :], module)))
        elif module not in done:
            for target in sorted(graph[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    assert not circles


WITHOUT_TENSORFLOW = (
    "age_keras.errors",
    "age_keras.files",
    "age_keras.bands",
    "age_keras.folds",
    "age_keras.cli",
    "age_keras.config",
    "age_keras.fitting",
    "age_keras.predictions",
    "age_keras.conformal",
    "age_keras.data.table",
    "age_keras.data.hhd",
    "age_keras.data.patches",
    "age_keras.data.synthetic",
    "age_keras.data.splits",
    "age_keras.prefix.feature_files",
    "age_keras.evaluation",
    "age_keras.backbones.families",
    "age_keras.backbones.listing",
    "age_keras.backbones.registry",
    "age_keras.characters.config",
    "age_keras.characters.calibration",
    "age_keras.characters.data",
    "age_keras.characters.evaluation",
    "tuning.report",
    "tuning.search",
    "tuning.search_config",
    "tuning.search_digits",
)


@pytest.mark.parametrize("room", WITHOUT_TENSORFLOW)
def test_needs_no_tensorflow(room):
    names = [module for module in imports() if lies_in(module, (room,))]
    code = f"import sys, {', '.join(names)}\nprint(sorted(m for m in ('tensorflow', 'keras') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
