"""The fleet's offline authority: make it, issue identities from it, revoke them."""

from __future__ import annotations

from provisioning.pki.authority import Authority, create_fleet

__all__ = ["Authority", "create_fleet"]
