"""Whether a browser sends a request for a page of ours, and not for one of somebody else.

A foreign page can make its reader's browser call a service on the reader's machine or network: at our address, then
`Origin` or `Sec-Fetch-Site` names that page; or at a host name that it has resolve to our address (DNS rebinding),
then `Host` is that name. Programs such as curl send neither of the first two and are not affected.
"""

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

__all__ = ["is_foreign_origin", "is_foreign_request", "is_known_host"]

OURS = frozenset({"same-origin", "none"})  # values of Sec-Fetch-Site; `none`: the reader typed the address


def is_known_host(host: str, names: Collection[str]) -> bool:
    """Whether a request may be for this host.

    Addresses, `localhost` and names without a dot cannot be rebound by others; other names must be listed.

    Args:
        host: the header `Host`; may have a port, or be empty.
        names: of the site, in lower case.

    Returns:
        True for those, and where there is no name.
    """
    name = _name(host)
    if not name or "." not in name or name.endswith(".localhost") or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_foreign_request(headers: Mapping[str, str], names: Collection[str]) -> bool:
    """Whether another site's page sent a request.

    Args:
        headers: of the request, by lower-case name.
        names: of the site, in lower case.

    Returns:
        False for programs, which do not say.
    """
    site = headers.get("sec-fetch-site")
    return site not in OURS if site else is_foreign_origin(headers, names)


def is_foreign_origin(headers: Mapping[str, str], names: Collection[str]) -> bool:
    """Whether `Origin` names another host than `Host`; not all browsers send `Sec-Fetch-Site` for sockets.

    Args:
        headers: as above.
        names: of the site, in lower case.

    Returns:
        False where there is no origin.
    """
    origin = headers.get("origin")
    if origin is None:
        return False
    host = urlsplit(origin).netloc.lower()
    return not host or (host != headers.get("host", "").lower() and _name(host) not in names)


def _name(host: str) -> str:
    """A host without its port, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return "not.a.host"
