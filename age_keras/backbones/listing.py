"""The registry as a table: nothing is built for it, all facts are in the specs."""

import csv
import io
import json

from age_keras.backbones.registry import BackboneSpec, get_spec, names

COLUMNS = {
    "name": "name",
    "parameters": "parameters (M)",
    "paper_parameters": "in the paper (M)",
    "gflops": "GFLOPs",
    "image_size": "input",
    "licence": "licence of the weights",
    "weights": "weights",
    "paper": "paper",
    "note": "note",
}


def facts(spec: BackboneSpec) -> dict:
    """One backbone's facts, in plain types: parameters without a classifier, GFLOPs (multiply-adds) at `image_size`."""
    sources = spec.weights
    licence = "; ".join(dict.fromkeys(source.licence for source in sources.values()))
    return {
        "name": spec.name,
        "family": spec.family,
        "parameters": spec.parameters,
        "paper_parameters": spec.paper_parameters,
        "gflops": spec.gflops,
        "image_size": spec.image_size,
        "min_image_size": spec.min_image_size,
        "size_multiple": spec.size_multiple,
        "licence": licence or spec.licence,
        "code_licence": spec.licence,
        "commercial": all(source.commercial for source in sources.values()),
        "weights": {
            name: {key: getattr(source, key) for key in ("location", "filename", "revision", "sha256")}
            for name, source in sources.items()
        },
        "paper": spec.paper,
        "cam_layer": spec.cam_layer,
        "tokens": spec.tokens,
        "small": spec.small,
        "note": spec.note,
    }


def rendered(form: str) -> str:
    """The whole registry as `md`, `csv` or `json`."""
    rows = [facts(get_spec(name)) for name in names()]
    if form == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False)
    if form == "csv":
        file = io.StringIO()
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "weights": " ".join(row["weights"])} for row in rows)
        return file.getvalue().rstrip("\n")
    lines = [" | ".join(COLUMNS.values()), " | ".join("---:" if _number(key) else "---" for key in COLUMNS)]
    lines += [" | ".join(_cell(row, key) for key in COLUMNS) for row in rows]
    table = "\n".join(f"| {line} |" for line in lines)
    return (
        f"{table}\n\nParameters are without a classifier, the paper's with its own; GFLOPs are multiply-adds of one "
        "image at the input size. (NC): not for commercial use."
    )


def _number(key: str) -> bool:
    return key in ("parameters", "paper_parameters", "gflops", "image_size")


def _cell(row: dict, key: str) -> str:
    value = row[key]
    if key == "parameters":
        return f"{value / 1e6:.2f}"
    if key == "paper_parameters":
        return f"{value:g}" if value else ""
    if key == "gflops":
        return f"{value:.2f}"
    if key == "weights":
        return ", ".join(value) or "none"
    if key == "licence":
        return value if row["commercial"] else f"{value} (NC)"
    return str(value)
