"""Valid documents, spoilt."""

from __future__ import annotations

from hypothesis import strategies as st

# What JSON, CSV, HTTP and GraphQL are made of, and what breaks readers of them.
TOKENS = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\u0000", b"\\ud800", b"null", b"true", b"1e999", b"-0",
    b"9" * 400, b"1.5", b"\n", b"\r\n", b"\r", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"''", b";", b"=",
    b'""', b"#", b"[" * 200, b'{"a":' * 200, b"<title>", b"&#x22;", b"mutation", b'"""', b"data", b"errors",
    b"configuration.a.b",
]  # fmt: skip

_KINDS = ("insert", "replace", "delete", "double", "flip", "cut")
edits = st.lists(
    st.tuples(
        st.sampled_from(_KINDS),
        st.integers(0, 2**16 - 1),
        st.integers(1, 64),
        st.sampled_from(TOKENS) | st.binary(max_size=6),
    ),
    max_size=4,
)


def spoil(content: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    """Change bytes: how, where as a share of 2**16, how many, and what is put there."""
    for kind, share, length, new in changes:
        at = share * (len(content) + 1) // 2**16
        head, tail = content[:at], content[at:]
        if kind == "insert":
            content = head + new + tail
        elif kind == "replace":
            content = head + new + tail[len(new) :]
        elif kind == "delete":
            content = head + tail[length:]
        elif kind == "double":
            content = head + tail[:length] * 2 + tail[length:]
        elif kind == "flip" and tail:
            content = head + bytes([tail[0] ^ (1 << length % 8)]) + tail[1:]
        elif kind == "cut":
            content = head
    return content


def spoilt(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Documents of which most are not valid any more."""
    return st.builds(spoil, valid, edits)


nested: st.SearchStrategy[bytes] = st.builds(
    lambda opening, closing, inner, depth: opening * depth + inner + closing * depth,
    st.sampled_from([b"[", b'{"a":', b'{"errors":', b'{"data":', b'{"errors":[', b'{"context":']),
    st.sampled_from([b"]", b"}", b"]}", b""]),
    st.sampled_from([b"1", b'"x"', b"null", b"", b"{}"]),
    st.integers(0, 1500) | st.just(100_000),
)
