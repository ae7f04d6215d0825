"""No file that the suite reads can run code: unsafe ways to load are not called anywhere."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for top in ("projects", "tools", "datasets")
    for path in (ROOT / top).rglob("*.py")
) + [ROOT / "train_net.py"]  # fmt: skip

# Whatever hands the text of a file to a loader that may build objects or run code.
FORBIDDEN = {
    "eval", "exec", "compile",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "joblib.load",
    "torch.jit.load", "pandas.read_pickle", "shelve.open", "marshal.loads",
    # Detectron2's and fvcore's config reading, which is unsafe unless told otherwise
    "merge_from_file", "load_yaml_with_base", "LazyConfig.load",
}  # fmt: skip


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "(...)"


def faults(tree: ast.AST) -> list[str]:
    """Calls of a module that may run what a file says."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = [name_of(base) for base in node.bases]
            methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            if "pickle.Unpickler" in bases and "find_class" not in methods:
                found.append(f"line {node.lineno}: {node.name} lets any class be found")
        if not isinstance(node, ast.Call):
            continue
        name, options = name_of(node.func), {word.arg: word.value for word in node.keywords}
        short = name.rsplit(".", 1)[-1]
        if name in FORBIDDEN or short in {"merge_from_file", "load_yaml_with_base"}:
            found.append(f"line {node.lineno}: {name}")
        if name == "torch.load" and not is_constant(options.get("weights_only"), True):
            found.append(f"line {node.lineno}: torch.load without weights_only=True")
        if short == "load" and name.split(".")[0] in {"np", "numpy"}:
            if "allow_pickle" in options and not is_constant(options["allow_pickle"], False):
                found.append(f"line {node.lineno}: {name} with allow_pickle")
    return found


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_runs_code(path):
    assert faults(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "yaml.load(text)",
        "cfg.merge_from_file(path)",
        "cfg.A.merge_from_file(path, allow_unsafe=False)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "pickle.load(file)",
        "eval(text)",
        "class A(pickle.Unpickler):\n    pass",
    ],
)
def test_the_test_finds(line):
    assert len(faults(ast.parse(line))) == 1


def test_what_is_safe_is_let_through():
    safe = (
        "yaml.safe_load(t); torch.load(p, weights_only=True); np.load(p); model.eval()\n"
        "class A(pickle.Unpickler):\n    def find_class(self, module, name): ...\n"
    )
    assert faults(ast.parse(safe)) == []
