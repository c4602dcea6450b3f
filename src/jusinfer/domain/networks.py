"""The network that an address belongs to, for what must not be known or counted by one address."""

import ipaddress
from typing import Final

IPV4: Final = 4


def network_of(
    address: str, ipv4_bits: int, ipv6_bits: int
) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Give the network of so many bits; raises ValueError for what is no address.

    An IPv4 address that is written as one of IPv6 belongs to its network of IPv4.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    found = mapped or found
    bits = ipv4_bits if found.version == IPV4 else ipv6_bits
    return ipaddress.ip_network((found, bits), strict=False)
