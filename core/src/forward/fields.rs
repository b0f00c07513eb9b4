//! The fields of a forward: texts between colons that are not in brackets.

use heapless::String;

use super::ForwardError;
use crate::host;

/// One field between colons.
#[derive(Copy, Clone)]
pub(super) struct Field<'a> {
    pub(super) text: &'a str,
    pub(super) bracketed: bool,
}

impl Field<'_> {
    pub(super) fn port(self) -> Option<u16> {
        (!self.bracketed).then(|| host::parse_port(self.text).ok())?
    }

    pub(super) fn host<const N: usize>(self) -> Option<String<N>> {
        // Brackets are for IPv6 addresses, and those need them.
        if self.bracketed != self.text.contains(':') {
            return None;
        }
        host::parse(self.text).ok()
    }

    /// Whether this names a Unix socket: no host begins so.
    pub(super) fn is_path(self) -> bool {
        let begins = |start: &&str| self.text.starts_with(*start);
        !self.bracketed && ["/", "%d/", "${"].iter().any(begins)
    }
}

/// The fields not yet taken.
pub(super) struct Fields<'a>(pub(super) Option<&'a str>);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ForwardError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.take()?;
        if let Some(inner) = text.strip_prefix('[') {
            let Some((address, rest)) = inner.split_once(']') else {
                return Some(Err(ForwardError::Fields));
            };
            self.0 = rest.strip_prefix(':');
            if self.0.is_none() && !rest.is_empty() {
                return Some(Err(ForwardError::Fields));
            }
            return Some(Ok(Field {
                text: address,
                bracketed: true,
            }));
        }
        let field = match text.split_once(':') {
            Some((field, rest)) => {
                self.0 = Some(rest);
                field
            }
            None => text,
        };
        Some(Ok(Field {
            text: field,
            bracketed: false,
        }))
    }
}

/// All fields of a text, at most `N`.
pub(super) fn all<const N: usize>(text: &str) -> Result<heapless::Vec<Field<'_>, N>, ForwardError> {
    let mut all = heapless::Vec::new();
    for field in Fields(Some(text)) {
        all.push(field?).map_err(|_| ForwardError::Fields)?;
    }
    Ok(all)
}
