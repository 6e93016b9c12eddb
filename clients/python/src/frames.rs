//! Codes as arrays, and as token frames.

use numpy::ndarray::{ArrayView1, ArrayView2};
use parlo_tokens::{CodeLayout, TokenFrame};
use pyo3::{exceptions::PyValueError, prelude::*};

/// Stands where a frame has no code: in finer books, if it is coarser; in all, if it is missing.
pub(crate) const NO_CODE: i64 = -1;

/// The frames of codes [K, T]: `None` where one is missing. `what` names the array in messages.
///
/// # Errors
/// If K is 0 or beyond the layout, a code lies outside its book, or is missing before one that is there.
pub(crate) fn of_codes(
    codes: &ArrayView2<'_, i64>,
    layout: &CodeLayout,
    what: &str,
) -> PyResult<Vec<Option<TokenFrame>>> {
    let (books, most) = (codes.nrows(), layout.depth());
    if books == 0 || books > most {
        return Err(PyValueError::new_err(format!(
            "{what} has codes of {books} codebooks; this model has 1 to {most}. The shape is [K, T]: codebooks, frames"
        )));
    }
    codes.columns().into_iter().enumerate().map(|(at, column)| frame(column, layout, what, at)).collect()
}

fn frame(column: ArrayView1<'_, i64>, layout: &CodeLayout, what: &str, at: usize) -> PyResult<Option<TokenFrame>> {
    let mut codes = [0_u16; parlo_tokens::MAX_DEPTH];
    let mut depth = 0;
    for (book, (&code, &size)) in column.iter().zip(layout.sizes()).enumerate() {
        if code == NO_CODE {
            continue;
        }
        if depth < book {
            return Err(PyValueError::new_err(format!(
                "{what}: frame {at} has no code (-1) in codebook {depth}, and {code} in codebook {book}: only the finest codes \
                 can be missing"
            )));
        }
        match u16::try_from(code) {
            Ok(fits) if u32::from(fits) < size => codes[book] = fits,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "{what}: code {code} in codebook {book} of frame {at} is not possible; 0 to {} are",
                    size - 1
                )));
            }
        }
        depth = book + 1;
    }
    Ok(TokenFrame::new(&codes[..depth]).ok())
}

/// Codes [K, T] out of frames, one book after the other: K is `depth`, and what a frame does not have is [`NO_CODE`].
pub(crate) fn to_codes<'f>(frames: impl ExactSizeIterator<Item = Option<&'f TokenFrame>>, depth: usize) -> Vec<i64> {
    let count = frames.len();
    let mut codes = vec![NO_CODE; depth * count];
    for (at, frame) in frames.enumerate() {
        for (book, &code) in frame.map_or(&[][..], TokenFrame::codes).iter().take(depth).enumerate() {
            codes[book * count + at] = i64::from(code);
        }
    }
    codes
}
