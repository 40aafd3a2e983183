"""The keys of an AWS profile: obstore reads the environment, and not ``~/.aws``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser, Error
from pathlib import Path
from typing import Any, Final

__all__ = ["aws_profile"]

_FIELDS: Final = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}
"""What of a profile an S3 store is opened with, by its name in the files and in obstore."""
_KEYS: Final = ("access_key_id", "aws_access_key_id", "credential_provider", "skip_signature", "aws_skip_signature")
_KEY_VARIABLES: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)


def aws_profile(options: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The settings of the profile ``AWS_PROFILE`` (or ``default``), as options of an S3 store.

    None when `options` or the environment say with which keys to sign. The files are those of ``AWS_CONFIG_FILE`` and
    ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/config`` and ``~/.aws/credentials``; what they lack, or a file that
    cannot be read, is left out.
    """
    if any(name in options for name in _KEYS) or any(environ.get(name) for name in _KEY_VARIABLES):
        return {}
    name = environ.get("AWS_PROFILE") or "default"
    found: dict[str, Any] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        profiles = ConfigParser(interpolation=None)
        try:
            profiles.read(environ.get(variable) or Path("~/.aws", file).expanduser(), encoding="utf-8")
        except (Error, OSError, RuntimeError, UnicodeError):
            continue
        if profiles.has_section(section):
            found |= {_FIELDS[key]: value for key, value in profiles[section].items() if key in _FIELDS}
    for option, variable in (
        ("region", "AWS_REGION"),
        ("region", "AWS_DEFAULT_REGION"),
        ("endpoint", "AWS_ENDPOINT_URL"),
    ):
        if environ.get(variable):  # which counts more
            found.pop(option, None)
    return found
