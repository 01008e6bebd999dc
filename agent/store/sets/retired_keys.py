"""The keys of retired certificates: destroyed, wherever a generation still has one. No other key is touched.

The cloud accepts nothing signed with such a key any more, so it leads no gateway back; in a stolen gateway, or after
the certificate was activated again by mistake, it would serve another. Rules:

* Nothing goes while the current generation is not whole on the disk, or has the certificate itself.
* A generation that was once final goes whole, as an old one does, and `previous` moves on first; of one that was set
  aside the certificate and the manifest stay, for a person who asks why.
* The caller spares `previous` where it is the only way back that a person can open, by activating its certificate
  again; see `agent.change.retiring`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.crypto import x509
from agent.errors import DamagedError, MaterialError
from agent.store.files import disk, durable
from agent.store.names import CERTIFICATE, CREDENTIAL, KEY, final_name
from agent.store.sets import generations

if TYPE_CHECKING:
    from collections.abc import Collection

    from agent.store.sets.directory import GenerationDirectory
    from agent.store.sets.links import Links
    from agent.store.sets.other_sets import OtherSets

_PUT_AWAY = re.compile(rf".*{re.escape(durable.DAMAGED)}(\.\d+)?")


class RetiredKeys:
    """The keys in one state directory."""

    def __init__(self, root: int, directory: GenerationDirectory, links: Links, others: OtherSets) -> None:
        self._root = root
        self._directory = directory
        self._links = links
        self._others = others

    def destroy(self, retired: Collection[str], spared: Collection[int] = ()) -> None:
        """Destroy the keys of certificates; needs the lock. Doing it again after a crash is safe.

        Args:
            retired: The certificates, which the cloud does not accept any more.
            spared: The generations that something rests on besides the current one.

        Raises:
            StoreError: A key could not be destroyed; calling again goes on.
        """
        if not retired:
            return
        current = self._links.current_or_none()
        if current is None or not self._directory.is_whole(current):
            return  # whatever is left may have to serve
        kept, listing = {current, *spared}, self._directory.listing()
        owners = {number: self._certificate(final_name(number)) for number in listing.final}
        useless = set(retired) - {owners.get(number) for number in kept}
        final = {number for number, certificate_id in owners.items() if certificate_id in useless}
        if self._links.previous_or_none() in final:
            self._links.choose_previous(self._others.whole(kept | final))
        for number in sorted(final):
            self._directory.erase(number)
        for name in map(generations.rejected_name, listing.rejected):
            if self._certificate(name) in useless:
                _destroy_in(self._directory.fd, name)
        for name in filter(_PUT_AWAY.fullmatch, disk.names(self._root)):
            if disk.is_directory(self._root, name) and _certificate(self._root, name) in useless:
                _destroy_in(self._root, name)

    def _certificate(self, name: str) -> str:
        return _certificate(self._directory.fd, name)


def _certificate(dir_fd: int, name: str) -> str:
    """Return the id of the certificate beside a key, or nothing; what was put there by hand is not the manifest's."""
    if not disk.is_directory(dir_fd, name):
        return ""
    try:
        with disk.directory(name, dir_fd) as fd:
            facts, _ = x509.read_chain(disk.read(fd, CERTIFICATE, generations.MAX_FILE))
        return facts[0].sha256
    except (FileNotFoundError, DamagedError, MaterialError):
        manifest = generations.manifest_of(dir_fd, name)
        return manifest.certificate_id if manifest else ""


def _destroy_in(dir_fd: int, name: str) -> None:
    with disk.directory(name, dir_fd) as fd:
        for file in (KEY, CREDENTIAL):
            durable.overwrite(fd, file)
            durable.remove(fd, file)
        durable.sync(fd, f"the key in {name} was removed")
