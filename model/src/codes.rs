//! Codes between token frames and graphs that speak codes themselves.

use std::path::Path;

use parlo_tokens::{CodeLayout, MAX_DEPTH, TokenFrame};

use crate::error::ModelError;

/// A frame before there is one.
pub(crate) fn nothing() -> TokenFrame {
    TokenFrame::new(&[0]).unwrap_or_else(|_| unreachable!("a frame may have one code"))
}

/// The first `depth` codes of a frame as a graph put them out: one for each book.
pub(crate) fn take(file: &Path, layout: &CodeLayout, found: &[i64], depth: usize) -> Result<TokenFrame, ModelError> {
    let mut codes = [0; MAX_DEPTH];
    // All are looked at, also those that are left out: a wrong one means that the graph is not what it should be.
    for (book, ((place, &code), &size)) in codes.iter_mut().zip(found).zip(layout.sizes()).enumerate() {
        *place = u16::try_from(code).ok().filter(|&code| u32::from(code) < size).ok_or_else(|| ModelError::Code {
            file: file.to_owned(),
            code,
            book,
            size,
        })?;
    }
    TokenFrame::new(&codes[..depth.min(layout.depth())])
        .map_err(|_| ModelError::Depth { asked: depth, most: layout.depth() })
}

/// Writes a frame's codes, and zeros for those that it has not.
pub(crate) fn put(frame: &TokenFrame, codes: &mut [i64]) {
    codes.fill(0);
    for (place, &code) in codes.iter_mut().zip(frame.codes()) {
        *place = code.into();
    }
}

/// Writes 1 for the books in use, and 0 for the others.
pub(crate) fn put_in_use(depth: usize, in_use: &mut [f32]) {
    for (book, place) in in_use.iter_mut().enumerate() {
        *place = if book < depth { 1.0 } else { 0.0 };
    }
}
