"""The README.md of a saved network: a model card."""

import json
from collections.abc import Mapping
from typing import Any

from ..errors import printable
from .folder import plain


def model_card(title: str, config: Mapping[str, Any], metrics: Mapping[str, Any], about: str) -> str:
    """The README.md of a saved network: a model card.

    Args:
        title: the title, one line.
        config: the contents of config.json.
        metrics: the contents of metrics.json.
        about: what the network is and how to use it, in Markdown.
    """
    task = printable(str(config.get("task", "")))
    rows = "\n".join(f"| {name} | {value} |" for name, value in _flat(metrics))
    return (
        f"---\nlibrary_name: unspool\ntags:\n- recurrent-neural-network\n- {task}\n---\n\n"
        f"# {title}\n\n{about}\n\n## Metrics\n\n| | |\n|---|---|\n{rows}\n\n"
        f"## Network\n\n```json\n{json.dumps(config['network'], indent=2, default=plain)}\n```\n"
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}: ")
        elif value is not None:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            rows.append((printable(f"{prefix}{name}".replace("_", " ")), printable(shown)))
    return rows
