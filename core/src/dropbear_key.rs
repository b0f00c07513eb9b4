//! Dropbear's private key files: RFC 4251 wire types, without header or encryption.

use core::fmt;

use heapless::String;

/// A private key, its parts borrowed from the file. Integers are big-endian magnitudes
/// without leading zeros.
#[derive(Copy, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields have the names of RFC 8017, RFC 8032 and SEC 1.
pub enum DropbearKey<'a> {
    /// RSA. The CRT values are not in the file.
    Rsa {
        e: &'a [u8],
        n: &'a [u8],
        d: &'a [u8],
        p: &'a [u8],
        q: &'a [u8],
    },
    /// Ed25519.
    Ed25519 {
        seed: &'a [u8; 32],
        public: &'a [u8; 32],
    },
    /// ECDSA. The curve is `nistp256`, `nistp384` or `nistp521`, the point in SEC 1's
    /// uncompressed form.
    Ecdsa {
        curve: &'a str,
        point: &'a [u8],
        d: &'a [u8],
    },
}

impl fmt::Debug for DropbearKey<'_> {
    /// The kind only: the parts are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "Rsa",
            Self::Ed25519 { .. } => "Ed25519",
            Self::Ecdsa { .. } => "Ecdsa",
        })
    }
}

/// Why bytes are not a usable Dropbear key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DropbearKeyError {
    /// Not this format at all.
    Format,
    /// The format, but cut short or with an impossible length or number.
    Corrupt,
    /// A key of this type is not supported.
    Type(String<64>),
}

impl fmt::Display for DropbearKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAKE: &str = "make one with dropbearkey -t rsa, ecdsa or ed25519";
        match self {
            Self::Format => write!(f, "not a Dropbear private key; {MAKE}"),
            Self::Corrupt => write!(
                f,
                "Dropbear private key is corrupt; copy it again or {MAKE}"
            ),
            Self::Type(name) => write!(
                f,
                "Dropbear private key has the unknown type {name}; {MAKE}"
            ),
        }
    }
}

impl core::error::Error for DropbearKeyError {}

/// Whether a file starts as a Dropbear private key does: with a key type as a string.
pub fn looks_like(file: &[u8]) -> bool {
    let mut reader = Reader(file);
    reader.string().and_then(key_type).is_some()
}

impl<'a> DropbearKey<'a> {
    /// Reads a private key file. Bytes after the key are ignored, as Dropbear does.
    ///
    /// # Errors
    /// See [`DropbearKeyError`].
    pub fn decode(file: &'a [u8]) -> Result<Self, DropbearKeyError> {
        let mut reader = Reader(file);
        let key_type = reader
            .string()
            .and_then(key_type)
            .ok_or(DropbearKeyError::Format)?;
        match key_type {
            "ssh-rsa" => reader.rsa(),
            "ssh-ed25519" => reader.ed25519(),
            _ => match key_type.strip_prefix("ecdsa-sha2-") {
                Some(curve @ ("nistp256" | "nistp384" | "nistp521")) => reader.ecdsa(curve),
                _ => {
                    let name = String::try_from(key_type).unwrap_or_default();
                    return Err(DropbearKeyError::Type(name));
                }
            },
        }
        .ok_or(DropbearKeyError::Corrupt)
    }
}

/// The name of a key type (RFC 4251, 6), told from chance by how those of SSH begin.
fn key_type(name: &[u8]) -> Option<&str> {
    let name = core::str::from_utf8(name).ok()?;
    let known = ["ssh-", "ecdsa-", "sk-"];
    let fits = name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_graphic())
        && known.iter().any(|start| name.starts_with(start));
    fits.then_some(name)
}

/// What of the file has not been read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn string(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (string, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    /// The magnitude of a positive mpint (RFC 4251, 5), whose first byte has to be zero if the
    /// next has its top bit set.
    fn mpint(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        if bytes.first()? & 0x80 != 0 {
            return None;
        }
        let zeros = bytes.iter().take_while(|&&b| b == 0).count();
        let magnitude = &bytes[zeros..];
        (!magnitude.is_empty()).then_some(magnitude)
    }

    fn rsa(&mut self) -> Option<DropbearKey<'a>> {
        Some(DropbearKey::Rsa {
            e: self.mpint()?,
            n: self.mpint()?,
            d: self.mpint()?,
            p: self.mpint()?,
            q: self.mpint()?,
        })
    }

    fn ed25519(&mut self) -> Option<DropbearKey<'a>> {
        let both = self.string()?;
        let (seed, public) = both.split_first_chunk::<32>()?;
        Some(DropbearKey::Ed25519 {
            seed,
            public: public.try_into().ok()?,
        })
    }

    fn ecdsa(&mut self, curve: &'a str) -> Option<DropbearKey<'a>> {
        let field_bytes = match curve {
            "nistp256" => 32,
            "nistp384" => 48,
            _ => 66,
        };
        if self.string()? != curve.as_bytes() {
            return None;
        }
        let point = self.string()?;
        if point.len() != 1 + 2 * field_bytes || point[0] != 4 {
            return None;
        }
        let d = self.mpint()?;
        (d.len() <= field_bytes).then_some(DropbearKey::Ecdsa { curve, point, d })
    }
}

#[cfg(test)]
mod tests;
