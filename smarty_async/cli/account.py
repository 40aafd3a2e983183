"""The account for a command: its options, then the environment. No option takes a secret."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from smarty_async import account
from smarty_async.errors import OptionsError
from smarty_async.options import PROVIDER

__all__ = ["Account", "read_account"]


class Account(account.Account, frozen=True, kw_only=True):
    """An account, or the embedded service where there is none.

    Attributes:
        why_local: why the embedded service is used, for people.
    """

    why_local: str = "no account given"

    @property
    def local(self) -> bool:
        """Whether the embedded service is used."""
        return self.base_url is None


def read_account(
    environ: Mapping[str, str],
    *,
    base_url: str | None = None,
    provider: str | None = None,
    local: bool = False,
) -> Account:
    """Return the account for a command's options; with neither credentials nor an address, the embedded service.

    Args:
        environ: the environment; empty variables count as absent.
        base_url: the address on the command line; it replaces that of the environment.
        provider: likewise.
        local: use the embedded service in any case.

    Raises:
        OptionsError: `local` with an address.
        ConfigurationError: the environment describes two accounts, half of one, or a file that cannot be read.
        AuthorizationError: an address is given and no account for it.
    """
    if local and base_url is not None:
        raise OptionsError("--local and --base-url exclude each other: leave one of them out")
    if local:
        provider = provider or environ.get("SMARTY_PROVIDER", "").strip() or PROVIDER
        return Account(provider=provider, why_local="asked for with --local")
    found = account.account_from_env(environ, base_url=base_url, provider=provider)
    return Account(**msgspec.structs.asdict(found))
