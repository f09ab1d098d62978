"""Where a request came from: the address of its client, behind proxies that are believed."""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from django.http import HttpRequest

from idempotency import conf

BY_CODE = "CALL"
"""What stands in a key for the method of a request that did not come by HTTP."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, for the key to say: its method, its path, its client's address."""

    method: str
    path: str
    ip: str | None = None

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        return cls(str(request.method), request.path_info, origin_ip(request))

    @classmethod
    def of_code(cls, operation: str) -> Self:
        return cls(BY_CODE, operation)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def origin_ip(request: HttpRequest) -> str | None:
    """Return the address of the client, or None where it has none (on a Unix socket).

    `X-Forwarded-For` is read from its right end, where each proxy adds what it saw, and only as far
    as `TRUSTED_PROXIES` wrote it: whatever stands further left is the client's own word.
    """
    address = _address(request.META.get("REMOTE_ADDR", ""))
    trusted = _networks(conf.current().trusted_proxies)
    hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if trusted else []
    while address is not None and hops and any(address in network for network in trusted):
        named = _address(hops.pop().strip())
        if named is None:
            break
        address = named
    return None if address is None else str(address)


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])  # without an IPv6 zone
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=4)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)
