"""What counts as one client and as one network."""

from __future__ import annotations

import pytest

from waymail.server.networks import client_of, network_of


@pytest.mark.parametrize(
    ("address", "client", "network"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("", "", ""),
        ("unix: a socket", "unix: a socket", "unix: a socket"),
    ],
)
def test_a_client_is_one_customer_and_a_network_one_place(address: str, client: str, network: str) -> None:
    assert (client_of(address), network_of(address)) == (client, network)
