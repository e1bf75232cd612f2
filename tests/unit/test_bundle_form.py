"""The form of a bundle: what is made opens, and nothing else does."""

from __future__ import annotations

import hashlib

import pytest
import zstandard

from network.configuration import BatchParameters
from network.ordering.cometbft.bundles.bundle import (
    BUNDLE_OVERHEAD_BYTES,
    ENVELOPE_OVERHEAD_BYTES,
    MOST_ENVELOPES,
    BundleCode,
    BundleError,
    BundleKind,
    BundleLimits,
    limits_of,
    make_bundle,
    open_bundle,
    read_head,
)
from tests.support.bundles import (
    BATCH,
    U32,
    bundle,
    compressed,
    content,
    envelopes,
    forged,
    named,
    node_of,
)
from tests.support.consenters import four_members
from tests.support.members import CHANNEL

LIMITS = limits_of(BATCH)
INSIDE = [b"one envelope", b"another one, which is longer"]
WHOLE = content(INSIDE)


def refusal(raw: bytes, limits: BundleLimits = LIMITS) -> BundleError:
    with pytest.raises(BundleError) as refused:
        open_bundle(raw, limits)
    return refused.value


def test_bundle_that_is_made_opens_as_it_was_made() -> None:
    """Everything that went in comes out, and the id is the SHA-256 of the bytes."""
    node = node_of(four_members()[1])
    raw = make_bundle(node, CHANNEL, 9, INSIDE, nonce=bytes(range(16)))
    opened = open_bundle(raw, LIMITS)
    head = opened.head
    assert opened.envelopes == tuple(INSIDE)
    assert (head.channel_id, head.creator, head.valid_until) == (CHANNEL, node.serialized, 9)
    assert (head.nonce, head.kind, head.count) == (bytes(range(16)), BundleKind.ENVELOPES, 2)
    assert opened.bundle_id == hashlib.sha256(raw).digest()
    assert opened.envelope_bytes == sum(map(len, INSIDE))
    assert raw.startswith(head.signed)
    assert raw.endswith(named(head.signature))


def test_bundles_of_the_same_envelopes_have_ids_of_their_own() -> None:
    """The nonce is random, so that what was refused can be sent again in another bundle."""
    assert open_bundle(bundle(), LIMITS).bundle_id != open_bundle(bundle(), LIMITS).bundle_id


def test_envelopes_that_repeat_certificates_become_small() -> None:
    """Most of an envelope is certificates, and bytes are what consensus costs."""
    inside = envelopes(20)
    assert len(bundle(inside=inside)) < sum(map(len, inside)) / 4


@pytest.mark.parametrize(
    ("inside", "nonce"), [([], None), ([b""], None), ([b"a", b""], None), ([b"a"], b"short")]
)
def test_bundle_of_nothing_is_not_made(inside, nonce) -> None:
    """A mistake of ours is told before anything is signed."""
    with pytest.raises(ValueError, match="at least one envelope"):
        make_bundle(node_of(four_members()[0]), CHANNEL, 9, inside, nonce=nonce)


def test_bomb_is_refused_before_it_is_expanded() -> None:
    """Some kilobytes that would become gigabytes are refused by what they say of themselves."""
    size = 1 << 30
    bomb = compressed(bytes(1 << 20)) * 1024
    assert len(bomb) < 100_000
    honest = refusal(forged(bomb, count=1, expanded=size))
    assert honest.code is BundleCode.TOO_LARGE
    # One that lies about its size is refused for that.
    lying = refusal(forged(compressed(bytes(1 << 24)), count=1, expanded=len(WHOLE)))
    assert lying.code is BundleCode.MALFORMED
    assert "does not say the size" in str(lying)


def test_payload_of_more_than_it_declares_is_not_expanded_further() -> None:
    """A frame whose blocks give more than its header says is no frame."""
    frame = bytearray(compressed(bytes(5000)))
    # A single segment of 5000 bytes: descriptor 60, content size as u16 less 256.
    assert frame[4] == 0x60
    frame[5:7] = (300 - 256).to_bytes(2, "little")
    assert refusal(forged(bytes(frame), count=1, expanded=300)).code is BundleCode.MALFORMED


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (WHOLE, "no zstd frame"),
        (b"", "no zstd frame"),
        # A skippable frame of the declared size.
        (b"\x50\x2a\x4d\x18" + len(WHOLE).to_bytes(4, "little") + WHOLE, "no zstd frame"),
        (compressed(WHOLE, write_content_size=False), "does not say the size"),
        (compressed(WHOLE[:-1]), "does not say the size"),
        (compressed(WHOLE)[:-1], "not one whole zstd frame"),
        (compressed(WHOLE) + b"\0", "not one whole zstd frame"),
        (compressed(WHOLE) + compressed(b"more"), "not one whole zstd frame"),
        (compressed(WHOLE) + compressed(b""), "not one whole zstd frame"),
    ],
    ids=[
        "not compressed",
        "empty",
        "skippable frame",
        "size not said",
        "a byte less",
        "cut",
        "a byte more",
        "two frames",
        "an empty frame more",
    ],
)
def test_payload_of_another_form_is_refused(payload, words) -> None:
    """One frame, of the size that the bundle says, and nothing behind it."""
    found = refusal(forged(payload, count=2, expanded=len(WHOLE)))
    assert found.code is BundleCode.MALFORMED
    assert words in str(found)


def test_payload_that_needs_a_large_window_is_refused() -> None:
    """A frame may ask its reader for memory without having anything to fill it with."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    stream = compressor.compressobj(size=len(WHOLE))
    frame = bytearray(stream.compress(WHOLE) + stream.flush())
    # Not a single segment: descriptor 40 with a window of 2**27 and a size of two bytes.
    body = frame[6:] if frame[4] == 0x20 else frame[4:]
    made = frame[:4] + b"\x40" + bytes([(27 - 10) << 3])
    large = made + (256).to_bytes(2, "little") + body
    size = 512
    assert zstandard.get_frame_parameters(bytes(large)).window_size == 1 << 27
    found = refusal(forged(bytes(large), count=1, expanded=size))
    assert "window" in str(found)


def test_payload_that_needs_a_dictionary_is_refused() -> None:
    """Nobody has agreed on one."""
    samples: list[bytes | bytearray | memoryview] = [
        b"sample %d of many that are alike" % place for place in range(2000)
    ]
    dictionary = zstandard.train_dictionary(1024, samples)
    assert dictionary.dict_id()
    payload = compressed(WHOLE, dict_data=dictionary)
    assert "dictionary" in str(refusal(forged(payload, count=2, expanded=len(WHOLE))))


@pytest.mark.parametrize(
    ("inside", "count", "words"),
    [
        (content([*INSIDE, b"third"]), 2, "follow its last envelope"),
        (content(INSIDE), 3, "would reach beyond|ends before"),
        (content([b"", b"x" * 20]), 2, "envelope 0 is empty"),
        (U32.pack(1 << 31) + b"x" * 20, 1, "would reach beyond"),
        (content(INSIDE) + b"\0", 2, "follow its last envelope"),
    ],
    ids=["more", "fewer", "empty", "too long", "a byte more"],
)
def test_envelopes_of_another_number_or_length_are_refused(inside, count, words) -> None:
    """The content is exactly as many envelopes as the head says."""
    found = refusal(forged(compressed(inside), count=count, expanded=len(inside)))
    assert found.code is BundleCode.MALFORMED
    assert any(each in str(found) for each in words.split("|"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": 2}, "its kind is 2"),
        ({"kind": 1}, "a configuration stands alone"),
        ({"count": 0}, "it holds 0 envelopes"),
        ({"count": 12}, "it holds 12 envelopes"),
        ({"channel_id": b"\xff"}, "not text"),
    ],
)
def test_head_that_cannot_be_is_refused(changes, words) -> None:
    """Before anything is expanded."""
    options = {"count": 2, "expanded": len(WHOLE), **changes}
    assert words in str(refusal(forged(compressed(WHOLE), **options)))


def test_limits_follow_from_the_batch_parameters() -> None:
    """A message at AbsoluteMaxBytes fits, with its framing; the number has a bound of ours too."""
    limits = limits_of(BatchParameters(max_message_count=10**9))
    assert limits.envelopes == MOST_ENVELOPES
    assert limits.envelope_bytes == BatchParameters().absolute_max_bytes + ENVELOPE_OVERHEAD_BYTES
    assert limits.bundle_bytes == limits.envelope_bytes + BUNDLE_OVERHEAD_BYTES


@pytest.mark.parametrize(
    "limits",
    [
        BundleLimits(1, 1000, 10_000),
        BundleLimits(2, sum(map(len, INSIDE)) - 1, 10_000),
        BundleLimits(2, 1000, 100),
    ],
)
def test_bundle_beyond_a_limit_is_refused(limits) -> None:
    """Number of envelopes, their bytes, or the bundle's; at the limit it opens."""
    raw = bundle(inside=INSIDE)
    assert refusal(raw, limits).code is BundleCode.TOO_LARGE
    exact = BundleLimits(2, sum(map(len, INSIDE)), len(raw))
    assert open_bundle(raw, exact).envelopes == tuple(INSIDE)


def test_head_is_read_without_expanding() -> None:
    """Signer and quota are asked before a stranger's payload is touched."""
    raw = forged(b"anything at all", count=2, expanded=len(WHOLE))
    assert read_head(raw, LIMITS).count == 2
    assert refusal(raw).code is BundleCode.MALFORMED
