//! The two hashes of the kernel.

use std::fmt;

use serde::{Deserialize, Serialize};

/// 16 bytes of BLAKE3 over canonical bytes: stable over releases and safe against
/// hostile data, so it may stand in a marker for a value too long to keep.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub [u8; 16]);

/// Version of the canonical form. Part of every digest, so that a change of the form
/// makes digests differ instead of lie.
const CANONICAL_FORM: u8 = 1;

impl Digest {
    /// Digest of canonical bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[CANONICAL_FORM]);
        hasher.update(bytes);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(digest)
    }

    /// Lower-case hexadecimal.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// xxh3-128 of a record's bytes as received. Equal means nothing changed and the
/// record may be skipped; different means only that it must be looked at, because
/// key order or spacing may have changed and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawHash(pub u128);

impl RawHash {
    /// Hash of bytes as received.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(bytes))
    }
}
