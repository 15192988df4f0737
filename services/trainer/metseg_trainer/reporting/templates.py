"""The HTML templates of this package."""

from pathlib import Path

import jinja2

__all__ = ["render"]


def render(template: str, **values: object) -> str:
    """A page.

    Args:
        template: its file name.
        values: by their names in the template.

    Returns:
        HTML.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page: str = environment.get_template(template).render(**values)
    return page
