"""The jobs of a gateway, page by page."""

from collections.abc import Callable, Iterator

from metseg.contracts import Job, JobPage

__all__ = ["ReadPage", "all_jobs"]

MAX_PAGE = 100
ReadPage = Callable[[int, str | None], JobPage]
"""Reads jobs, newest first: of a limit and a cursor."""


def all_jobs(read_page: ReadPage, page_size: int = MAX_PAGE) -> Iterator[Job]:
    """All jobs, newest first; a page is read when its first job is asked for.

    Args:
        read_page: such as `Client.jobs`.
        page_size: jobs per page; the gateway allows `MAX_PAGE`.

    Yields:
        The jobs.
    """
    cursor = None
    while True:
        page = read_page(page_size, cursor)
        yield from page.jobs
        cursor = page.next
        if cursor is None:
            return
