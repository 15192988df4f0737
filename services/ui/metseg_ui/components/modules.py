"""What the components share: the script that mounts a module which the page serves, and the paths of modules."""

from metseg_ui import proxy_routes

__all__ = ["MOUNT", "module_path"]

MOUNT = """
export default async (component) => {
  const module = await import(new URL(component.data.script, document.baseURI));
  return module.mount(component);
};
"""
"""The script of a component whose data name the module as `script`."""


def module_path(name: str) -> str:
    """The path of a file in `assets`, relative to the page.

    Args:
        name: of the file.

    Returns:
        The path, which changes with the files, so that a browser may keep them.
    """
    return f"assets/{proxy_routes.assets_version()}/{name}"
