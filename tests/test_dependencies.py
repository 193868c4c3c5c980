"""What is imported is declared, what is declared is pinned, and the wheel holds every package and its data."""

import ast
import configparser
import sys
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("age_keras", "experiments", "tuning")


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def requirements(text: str) -> dict[str, Requirement]:
    lines = [line.strip() for line in text.splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(each.name): each for each in found}


def imported() -> dict[str, str]:
    """Every foreign top-level module that the product imports, and a file that does."""
    found = {}
    for path in (path for room in PRODUCT for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            found |= {name.split(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {name: path for name, path in found.items() if name not in (*sys.stdlib_module_names, *PRODUCT)}


def test_every_import_is_declared():
    declared = requirements(settings()["options"]["install_requires"])
    for extra in settings()["options.extras_require"].values():
        declared |= requirements(extra)
    distributions = packages_distributions()
    missing = {
        name: path
        for name, path in imported().items()
        # An optional package that is not installed has its module's name.
        if not {canonicalize_name(each) for each in distributions.get(name, [name])} & set(declared)
    }
    assert not missing


def test_every_requirement_is_pinned_within_its_range():
    pins = requirements((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    declared = requirements(settings()["options"]["install_requires"])
    assert not set(declared) - set(pins)
    for name, pin in pins.items():
        (version,) = pin.specifier
        assert version.operator == "=="
        assert name not in declared or declared[name].specifier.contains(version.version), name


def test_every_package_and_its_data_are_installed():
    included = settings()["options.packages.find"]["include"].split()
    for path in (path.parent.relative_to(ROOT) for room in PRODUCT for path in (ROOT / room).rglob("__init__.py")):
        assert any(fnmatch(".".join(path.parts), pattern) for pattern in included), path
    data = [path for path in (ROOT / "age_keras").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    patterns = settings()["options.package_data"]["age_keras"].split()
    assert {p for pattern in patterns for p in (ROOT / "age_keras").glob(pattern)} == set(data)
