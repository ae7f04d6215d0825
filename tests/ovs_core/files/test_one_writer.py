"""All files are written by ``ovs_core.files.writing``, so that none is ever seen half written."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ALLOWED = {
    "projects/ovs_core/files/writing.py": "the writer itself",
    "projects/ovs_core/evaluation/panoptic.py": "a record that grows line by line",
    "projects/ovs_core/predict/geotiff.py": "GDAL fills the part that the writer gives",
    "projects/ovs_core/predict/ray_cluster.py": "a mark that grows byte by byte",
    "projects/ovs_core/reports/benchmark.py": "a switch of the system, no file",
    "projects/ovs_core/reports/gpu_check.py": "rows that grow line by line",
    "tools/embedded_clip/train.py": "a log that grows line by line",
    "tools/install_detectron2.py": "runs before the suite can be imported, in a folder of its own",
    "tools/detectron2_sources.py": "runs before the suite can be imported, in a folder of its own",
}


def writes(node):
    """Whether a call creates, moves or fills a file by itself."""
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    if called == "open" or called.endswith(".open"):
        modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
        modes += [k.value.value for k in node.keywords if k.arg == "mode"]
        return any(isinstance(m, str) and set(m) <= set("rwabtx+") and set(m) & set("wax+")
                   for m in modes)  # fmt: skip
    return called in ("os.replace", "os.rename", "json.dump") or called.endswith(
        (".write_text", ".write_bytes", "mkstemp", "NamedTemporaryFile")
    )


def writers():
    for folder in ("projects", "tools", "datasets"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if any(map(writes, ast.walk(ast.parse(path.read_text(encoding="utf-8"))))):
                yield str(path.relative_to(ROOT))


def test_every_file_is_written_by_the_one_writer():
    assert sorted(ALLOWED) == sorted(writers())
