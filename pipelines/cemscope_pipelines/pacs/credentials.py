"""Credentials for an archive: from the environment, or from the system's keyring."""

import importlib
import os
from typing import Any
from urllib.parse import urlsplit

from cemscope.dicom.pacs.dicomweb import WebCredentials
from cemscope.errors import ConfigError

USER_VARIABLE = "CEMSCOPE_PACS_USER"
PASSWORD_VARIABLE = "CEMSCOPE_PACS_PASSWORD"  # noqa: S105 - the name, not the word
TOKEN_VARIABLE = "CEMSCOPE_PACS_TOKEN"  # noqa: S105 - the name, not the token
KEYRING_SERVICE = "cemscope"


def web_credentials(url: str) -> WebCredentials:
    """Look for credentials of a DICOMweb service.

    A token in the environment goes first, then user and password there, then the
    password of that user in the keyring under the service "cemscope HOST".

    Raises
    ------
    ConfigError
        If a user is named and no password is found.
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token:
        return WebCredentials(token=token)
    user = os.environ.get(USER_VARIABLE, "")
    if not user:
        return WebCredentials()
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        password = _from_keyring(urlsplit(url).hostname or "", user)
    if password is None:
        raise ConfigError(
            f"{USER_VARIABLE} is set and no password is found: set "
            f'{PASSWORD_VARIABLE}, or store it with `keyring set "{KEYRING_SERVICE} '
            'HOST" USER`'
        )
    return WebCredentials(user, password)


def _from_keyring(host: str, user: str) -> str | None:
    try:
        keyring: Any = importlib.import_module("keyring")
    except ImportError:
        return None
    try:
        found: str | None = keyring.get_password(f"{KEYRING_SERVICE} {host}", user)
    except keyring.errors.KeyringError:
        return None
    return found
