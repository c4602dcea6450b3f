"""What an upstream says, as UTF-8: JSON and event streams are nothing else."""


def as_utf8(data: bytes) -> bytes:
    """Give bytes as they are, or with U+FFFD wherever they are not UTF-8; never raises.

    Clients read JSON strictly: one wrong byte would cost them the whole answer.
    """
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data
