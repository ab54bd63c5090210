"""Exports for tests: a process in place of the one that needs torch, which writes files without a network in them."""

from __future__ import annotations

import sys
from pathlib import Path

from app.services.model_jobs import ModelJobs

PROCESS = """
import json, pathlib, sys
request = json.loads(sys.stdin.readline())
form, preprocessing = request["options"]["format"], request["options"]["preprocessing"]
if request["run"] in {broken!r}:
    print(json.dumps({{"reason": "the network cannot be exported as " + form}}), flush=True)
    sys.exit()
names = {{"onnx": ["model.onnx"], "torch_export": ["model.pt2"], "safetensors": ["model.safetensors", "model.json"]}}
folder = pathlib.Path(request["artifacts"].removeprefix("file://")) / request["run"] / "exports"
folder.mkdir(parents=True, exist_ok=True)
files = []
for name in names[form]:
    (folder / name).write_text(f"{{name}} {{preprocessing}}")
    files.append({{"name": name, "bytes": (folder / name).stat().st_size}})
result = {{"format": form, "preprocessing": preprocessing, "files": files, "pictures": 256, "epoch": 2, "step": 18}}
result["difference"] = None if form == "safetensors" else 3.2e-7
print(json.dumps({{"result": result}}), flush=True)
"""


def export_without_torch(jobs: ModelJobs, folder: Path, broken: tuple[str, ...] = ()) -> None:
    """Let jobs export what ``model.SUFFIX True`` says: name and preprocessing. broken: runs whose exports fail."""
    script = folder / "exporting_process.py"
    script.write_text(PROCESS.format(broken=list(broken)))
    jobs._command = (sys.executable, str(script))
