"""Parts of a view or of the sidebar. Each has a `render` function."""
