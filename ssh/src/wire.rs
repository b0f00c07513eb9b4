//! The data types of RFC 4251 section 5: a borrowing reader and a writer over any sink.

use alloc::vec::Vec;

use crate::{Error, limits};

/// Reads fields from the front of a byte slice without copying.
///
/// Every method fails with [`Error::Malformed`] when the bytes do not hold the type, and
/// then leaves the reader where it was.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// Takes exactly `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or(Error::Malformed("field length"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(Error::Malformed("field length"))?;
        self.rest = rest;
        Ok(*head)
    }

    /// A `byte`.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// A `boolean`; any non-zero byte is true.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        Ok(self.u8()? != 0)
    }

    /// A `uint32`.
    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A `string`: arbitrary bytes behind a 32-bit length.
    pub fn string(&mut self) -> Result<&'a [u8], Error> {
        let mut ahead = self.clone();
        let length = ahead.u32()?;
        let bytes = ahead.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        *self = ahead;
        Ok(bytes)
    }

    /// A `string` that holds UTF-8 text.
    pub fn text(&mut self) -> Result<&'a str, Error> {
        let mut ahead = self.clone();
        let text =
            core::str::from_utf8(ahead.string()?).map_err(|_| Error::Malformed("UTF-8 text"))?;
        *self = ahead;
        Ok(text)
    }

    /// A `name-list`: printable US-ASCII without spaces, names separated by commas. Empty
    /// names inside a list are let through; [`names`] skips them.
    pub fn name_list(&mut self) -> Result<&'a str, Error> {
        let mut ahead = self.clone();
        let list = ahead.text()?;
        if list.len() > limits::NAME_LIST {
            return Err(Error::Limit("the length of a name list"));
        }
        if !list.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::Malformed("name list"));
        }
        *self = ahead;
        Ok(list)
    }

    /// A non-negative `mpint`: the magnitude, big-endian, without leading zeros (empty for
    /// zero). A negative number is malformed; needless leading zeros are let through.
    pub fn mpint(&mut self) -> Result<&'a [u8], Error> {
        let mut ahead = self.clone();
        let bytes = ahead.string()?;
        if bytes.first().is_some_and(|b| b & 0x80 != 0) {
            return Err(Error::Malformed("number (negative)"));
        }
        *self = ahead;
        Ok(magnitude(bytes))
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True when everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Fails when bytes remain.
    pub fn finish(&self) -> Result<(), Error> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Error::Malformed("message (bytes left over)"))
        }
    }
}

/// `bytes` without leading zeros.
pub fn magnitude(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    bytes.get(zeros..).unwrap_or(&[])
}

/// The names of a `name-list`, empty ones left out.
pub fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|name| !name.is_empty())
}

/// A sink for encoded fields: a buffer or a hash.
pub trait Put {
    /// Appends raw bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Appends a `byte`.
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// Appends a `boolean`.
    fn put_boolean(&mut self, value: bool) {
        self.put(&[u8::from(value)]);
    }

    /// Appends a `uint32`.
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Appends a `string`. `bytes` is shorter than 4 GiB, as everything here is.
    fn put_string(&mut self, bytes: &[u8]) {
        self.put_u32(bytes.len() as u32);
        self.put(bytes);
    }

    /// Appends a non-negative `mpint` from its big-endian magnitude; leading zeros of
    /// `bytes` are dropped and a sign byte is added where it is needed.
    fn put_mpint(&mut self, bytes: &[u8]) {
        let bytes = magnitude(bytes);
        if bytes.first().is_some_and(|b| b & 0x80 != 0) {
            self.put_u32(bytes.len() as u32 + 1);
            self.put_u8(0);
            self.put(bytes);
        } else {
            self.put_string(bytes);
        }
    }

    /// Appends a `name-list`.
    fn put_name_list<'n>(&mut self, names: impl IntoIterator<Item = &'n str>)
    where
        Self: Sized,
    {
        let mut list = Vec::new();
        for name in names {
            if !list.is_empty() {
                list.push(b',');
            }
            list.extend_from_slice(name.as_bytes());
        }
        self.put_string(&list);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A running hash as a sink, so that hashed fields need no buffer.
#[derive(Clone)]
pub struct Hasher(pub ring::digest::Context);

impl Hasher {
    /// A hash of nothing.
    pub fn new(algorithm: &'static ring::digest::Algorithm) -> Self {
        Hasher(ring::digest::Context::new(algorithm))
    }
}

impl Put for Hasher {
    fn put(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}
