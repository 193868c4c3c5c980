"""All backbones: parameters, multiply-adds, input size, licence of the weights, where they come from."""

from typing import Literal


def main(format: Literal["md", "csv", "json"] = "md") -> None:
    """Lists the registered backbones.

    Args:
        format: A Markdown table, CSV, or JSON with every fact.
    """
    from age_keras.backbones.listing import rendered

    print(rendered(format))
