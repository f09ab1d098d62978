"""Where a request came from, behind proxies that are believed and before those that are not."""

import pytest
from django.test import RequestFactory

from idempotency.http.origins import origin_ip

CLIENT, FORGED, PROXY, SECOND_PROXY = "203.0.113.7", "198.51.100.9", "10.0.0.1", "10.0.0.2"


def origin(
    settings, *, peer: str, forwarded: str = "", trusted: tuple[str, ...] = ()
) -> str | None:
    settings.IDEMPOTENCY = {"TRUSTED_PROXIES": trusted}
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return origin_ip(RequestFactory().get("/", headers=headers, REMOTE_ADDR=peer))


def test_without_believed_proxies_it_is_the_peer_whatever_it_says(settings):
    assert origin(settings, peer=CLIENT, forwarded=FORGED) == CLIENT


def test_a_believed_proxy_names_its_client(settings):
    assert origin(settings, peer=PROXY, forwarded=CLIENT, trusted=(PROXY,)) == CLIENT


def test_what_a_client_wrote_left_of_it_is_not_believed(settings):
    forwarded = f"{FORGED}, {CLIENT}"

    assert origin(settings, peer=PROXY, forwarded=forwarded, trusted=("10.0.0.0/8",)) == CLIENT


def test_several_believed_proxies_are_followed_from_the_right(settings):
    forwarded = f"{FORGED}, {CLIENT}, {SECOND_PROXY}"

    assert origin(settings, peer=PROXY, forwarded=forwarded, trusted=("10.0.0.0/8",)) == CLIENT


def test_a_peer_that_is_no_believed_proxy_is_the_origin(settings):
    assert origin(settings, peer=CLIENT, forwarded=FORGED, trusted=("10.0.0.0/8",)) == CLIENT


@pytest.mark.parametrize("forwarded", ["", "unknown", "203.0.113.7, unknown", ","])
def test_a_proxy_that_names_no_address_is_the_origin_itself(settings, forwarded):
    assert origin(settings, peer=PROXY, forwarded=forwarded, trusted=(PROXY,)) == PROXY


def test_an_address_of_ipv4_within_ipv6_is_that_of_ipv4(settings):
    peer = f"::ffff:{PROXY}"

    assert origin(settings, peer=peer, forwarded=CLIENT, trusted=(PROXY,)) == CLIENT
    assert origin(settings, peer=peer) == PROXY
