"""Stage `export`: the final model as a folder that transformers opens."""

from pathlib import Path
from typing import Any

from phidelity.config import Config
from phidelity.export.huggingface import export_huggingface
from phidelity.progress import SILENT, Progress


class ExportConfig(Config):
    """What leaves the run."""

    folder: str = "huggingface"
    """Name of the folder under `export/`."""


def export(config: ExportConfig, *, model: Path, seed: int, out: Path, progress: Progress = SILENT) -> dict[str, Any]:
    """Write the final model in the published layout."""
    with progress.task("export", None):
        parameters = export_huggingface(model, out / config.folder)
    return {"parameters": parameters, "folder": config.folder}
