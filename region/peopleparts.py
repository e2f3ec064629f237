"""The page for people, put together: the part of the composition root (main) that everything about people's accounts stands in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from region.classnames import ClassNames
from region.config import RegionSettings
from region.decoder import Decoder
from region.gallery import Gallery
from region.labelling import Labels
from region.people import PAGES, people_app
from region.pictures import Pictures
from region.vault import Vault
from shared import clock, log
from shared.accounts import AccountStore
from shared.audit import AuditLog
from shared.doors import Doors
from shared.identity.tls import people_context
from shared.lifecycle import Part
from shared.serving import serve
from shared.sessions import SessionStore
from shared.signin import signin_app
from shared.site import site
from shared.statics import PAGES as SHARED_PAGES
from shared.statics import Statics

PEOPLE_CERTIFICATE, NOBODY_YET = "people_certificate", "nobody_has_an_account"


def people_parts(
    settings: RegionSettings, vault: Vault, expert: Callable[[], int | None], live: Callable[[], dict[str, Any]]
) -> list[Part]:
    """Return the parts of the page in the order they start; none when `people.port` is 0.

    Args:
        settings: region.toml.
        vault: the daemon's; labels are written through it.
        expert: returns the release of the expert that answers.
        live: returns the live risk of the devices.

    Raises:
        IdentityError: the listener's certificate cannot be used.
        StorageError: a file of the state folder cannot be used.
    """
    chosen = settings.people
    if not chosen.port:
        return []
    tls = people_context(settings.state, ["localhost", "127.0.0.1", chosen.host], now=clock.wall())
    log.get("people").info(PEOPLE_CERTIFICATE, fingerprint=tls.fingerprint, url=chosen.address)
    accounts, sessions, audit = AccountStore(settings.people_path), SessionStore(settings.people_path), AuditLog(settings.audit_path)
    if not accounts.accounts():
        log.get("people").warning(NOBODY_YET, remedy="Make the first admin on this terminal: terrace region account invite --config …")
    reader = Vault(settings.vault_path, read_only=True)
    pictures = Pictures(Decoder(max_pixels=settings.expert.max_pixels))
    api = people_app(
        region=settings.name,
        gallery=Gallery(reader, Labels(vault.database), ClassNames(settings, expert).names),
        pictures=pictures,
        doors=Doors(None, sessions),
        audit=audit,
        clock=clock.wall,
        expert=expert,
        live=live,
    )
    app = site(
        api, signin_app(accounts, sessions, audit), Statics((SHARED_PAGES, PAGES), {"/": "gallery.html", "/devices": "devices.html"}).load()
    )
    return [reader, pictures, serve(app, host=chosen.host, port=chosen.port, context=tls.context, key="people.port")]
