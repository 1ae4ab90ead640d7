"""The key of the patients' pseudonyms, kept apart from all results.

Patient ids are short: with the salt of the pseudonyms, all of them can be found by trying. So no result holds a salt.
A folder of results holds its own number (the nonce) and the name of its key; the salt is computed from the nonce and
the user's secret, one file for all results, which must never be shared:

``$MOLSUB_KEY``, or ``MolSub/private/pseudonyms.key`` in the user's data folder, readable by the user alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MolSubCore.errors import MolSubError
from MolSubCore.files import open_file, read_json

_SECRET = re.compile(r"[0-9a-f]{64}")
#: Bytes of a key file that are read.
_KEY_CAP = 1024
_VARIABLE = "MOLSUB_KEY"


def key_file() -> Path:
    """Path of the user's secret."""
    if chosen := os.environ.get(_VARIABLE):
        return Path(chosen)
    from platformdirs import user_data_dir

    return Path(user_data_dir("MolSub", appauthor=False)) / "private" / "pseudonyms.key"


@dataclass(frozen=True)
class Salt:
    """Salt of the pseudonyms in one folder of results.

    Attributes
    ----------
    value : str
        Secret; computed from the user's key and the nonce.
    nonce : str
        Stored in the results. Empty for results of earlier versions, which hold the salt itself.
    """

    value: str
    nonce: str = ""

    @classmethod
    def new(cls) -> Salt:
        """A salt for new results; makes the user's key where there is none.

        Raises
        ------
        MolSubError
            If it cannot be made.
        """
        nonce = secrets.token_hex(16)
        return cls(_derived(_secret(make=True), nonce), nonce)

    @classmethod
    def read(cls, path: Path, content: Mapping[str, Any]) -> Salt:
        """The salt of existing results.

        Raises
        ------
        MolSubError
            If they were made with another key.
        KeyError
            If `content` has none.
        """
        if "nonce" not in content:
            return cls(str(content["salt"]))
        secret = _secret(make=False)
        if secret is None or _name(secret) != content["key"]:
            found = f"has pseudonyms made with the key {str(content['key'])[:16]}, which is not that of {key_file()}"
            remedy = f"Continue as the user who made it, or set {_VARIABLE} to that user's key file"
            raise MolSubError(path, found, remedy)
        return cls(_derived(secret, str(content["nonce"])), str(content["nonce"]))

    def to_dict(self) -> dict[str, str]:
        """What is stored in the results."""
        if not self.nonce:
            return {"salt": self.value}
        secret = _secret(make=False)
        return {"nonce": self.nonce, "key": _name(secret) if secret else ""}


def key_advice(file: Path) -> str:
    """Which file must not be shared with the results that `file` (``split.json``, ``plan.json``) belongs to."""
    content = read_json(file) if file.is_file() else {}
    if isinstance(content, dict) and "salt" in content:
        return f"{file}, from an earlier version, holds the salt that reveals the pseudonyms: never share it"
    return f"Key of the patients' pseudonyms, never to be shared: {key_file()}"


def _derived(secret: str | None, nonce: str) -> str:
    assert secret is not None
    return hmac.new(bytes.fromhex(secret), f"molsub-pseudonyms:{nonce}".encode(), "sha256").hexdigest()


def _name(secret: str) -> str:
    """A name for a key that does not reveal it."""
    return hashlib.sha256(f"molsub-key:{secret}".encode()).hexdigest()[:16]


def _secret(*, make: bool) -> str | None:
    """The user's secret; None where there is none and none is to be made."""
    path = key_file()
    try:
        if make and not path.exists():
            _make(path)
        with open_file(path) as file:
            text = file.read(_KEY_CAP).decode("ascii").strip()
    except FileNotFoundError:
        if make:
            raise
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        found = f"cannot be used as the key of the patients' pseudonyms ({reason})"
        raise MolSubError(path, found, f"Set {_VARIABLE} to a file of yours that nobody else can read") from None
    if not _SECRET.fullmatch(text):
        raise MolSubError(path, "is not a key of pseudonyms", f"Restore a copy, or set {_VARIABLE} to another file")
    return text


def _make(path: Path) -> None:
    """Write a new secret, whole, for the user alone; another process may do the same at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{secrets.token_hex(8)}.key")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
