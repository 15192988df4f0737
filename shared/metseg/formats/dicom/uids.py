"""UIDs derived from words, as name-based UUIDs (PS3.5 B.2): equal words give equal UIDs, others differ."""

import uuid

__all__ = ["make_uid"]


def make_uid(*words: object) -> str:
    """A UID from words, which cannot be recovered from it except by guessing all of them."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, 'metseg ' + ' '.join(map(str, words))).int}"
