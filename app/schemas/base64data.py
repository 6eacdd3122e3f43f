"""Decodes base64 strings in JSON."""

from __future__ import annotations

import base64

from core.errors import InvalidInput


def decoded_base64(text: str, param: str) -> bytes:
    """The bytes that `text` encodes; white space is ignored. Raises InvalidInput, also if there are none."""
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise InvalidInput(f"{param}: this is no base64 (RFC 4648, section 4, with padding)", param=param) from None
    if not data:
        raise InvalidInput(f"{param}: must not be empty", param=param)
    return data
